/** Says news aloud, politely: a few at a time, and many as numbers. */

/** Between two announcements. */
const PAUSE_MS = 4_000
/** More news than this are told as numbers. */
const SINGLE_MAX = 3

/**
 * `kind` counts them: `sealed`, `failed`. Of several about one thing the last is told.
 *
 * @typedef {{ about: string, kind: string, text: string }} News
 */

/**
 * @param {Pick<Element, 'textContent'>} region An `aria-live` region.
 */
export function createAnnouncer(region) {
  /** @type {Map<string, News>} */
  const waiting = new Map()
  let isBusy = false
  const speak = () => {
    isBusy = waiting.size > 0
    if (!isBusy) return
    region.textContent = formatNews([...waiting.values()])
    waiting.clear()
    setTimeout(speak, PAUSE_MS)
  }
  return {
    /** @param {News} news */
    say(news) {
      waiting.set(news.about, news)
      if (isBusy) return
      isBusy = true
      // What comes together is told together.
      setTimeout(speak, 250)
    },
  }
}

/**
 * @param {readonly Omit<News, 'about'>[]} news
 * @returns {string}
 */
export function formatNews(news) {
  if (news.length <= SINGLE_MAX) return `${news.map(({ text }) => text).join('. ')}.`
  /** @type {Map<string, number>} */
  const counts = new Map()
  for (const { kind } of news) counts.set(kind, (counts.get(kind) ?? 0) + 1)
  const numbers = Array.from(counts, ([kind, count]) => `${count} ${kind}`)
  return `Uploads: ${numbers.join(', ')}.`
}
