/**
 * Keeps the first page live. What comes in is remembered at once and written once a frame at most, row by
 * row; rows keep their place, and one that has ended stays a moment before it goes down to the others.
 */
import { createAnnouncer } from './announcer.js'
import { openFeed } from './live-feed.js'
import { createRateMeter } from './rate-meter.js'
import { pickFacts } from './upload-facts.js'
import { createRow } from './upload-row.js'
import {
  announceState,
  averageRate,
  BAR_MAX,
  describeUpload,
  formatCount,
  formatReference,
  isEnded,
} from './upload-words.js'

/** @typedef {import('./upload-facts.js').UploadFacts} UploadFacts */
/** @typedef {import('./live-feed.js').FeedState} FeedState */

/**
 * @typedef {object} Entry
 * @property {UploadFacts} facts
 * @property {ReturnType<typeof createRow>} row
 * @property {ReturnType<typeof createRateMeter>} meter
 * @property {string} state The last that was written.
 * @property {number} quarter
 */

/** What has ended stays where it was for this long. */
const LINGER_MS = 5_000
/** Of a frame, what rows may take: hundreds at once would hold up the page for longer than a frame lasts. */
const FRAME_MS = 6

/**
 * @template {Element} T
 * @param {string} selector
 * @param {new () => T} kind
 * @returns {T}
 */
function find(selector, kind) {
  const element = document.querySelector(selector)
  if (!(element instanceof kind)) throw new Error(`The page has no ${selector}`)
  return element
}

const root = find('#uploads', HTMLElement)
const runningList = find('#running', HTMLElement)
const endedList = find('#ended', HTMLElement)
const blank = find('#blank-row', HTMLTemplateElement)
const icons = root.dataset.icons ?? ''
const endedMax = Number(root.dataset.endedMax)
const announcer = createAnnouncer(find('#news', HTMLElement))

/** How far the clock of the server is ahead of this one. */
const aheadMs = Date.parse(root.dataset.now ?? '') - Date.now()
/** While the connection is lost time stands still: what has stalled since is not known. */
let lostAt = Number.POSITIVE_INFINITY
const now = () => Math.min(Date.now() + aheadMs, lostAt)

const clock = new Intl.DateTimeFormat(undefined, { hour: '2-digit', minute: '2-digit' })
/** @param {string} instant */
const formatClock = (instant) => clock.format(new Date(instant))

/** @type {Map<string, Entry>} */
const entries = new Map()
/** @type {Set<Entry>} */
const changed = new Set()
let isFrameAsked = false

/** @param {Entry} entry */
function touch(entry) {
  changed.add(entry)
  if (isFrameAsked) return
  isFrameAsked = true
  requestAnimationFrame(writeSome)
}

/** Writes rows, those that wait longest first, until the frame has had its share; then goes on in the next one. */
function writeSome() {
  const until = performance.now() + FRAME_MS
  for (const entry of changed) {
    changed.delete(entry)
    write(entry)
    if (performance.now() >= until) break
  }
  isFrameAsked = changed.size > 0
  if (isFrameAsked) requestAnimationFrame(writeSome)
}

/** @param {Entry} entry */
function write(entry) {
  const { facts, meter } = entry
  const at = now()
  const rate = meter.rate(at) ?? averageRate(facts)
  const view = describeUpload(facts, { now: at, rate, formatClock })
  entry.row.write(facts, view)
  if (view.state !== entry.state) {
    entry.state = view.state
    const text = announceState(facts, view.state)
    announcer.say({ about: facts.id, kind: view.word.toLowerCase(), text })
  }
  const quarter = Math.floor((view.sent ?? 0) / (BAR_MAX / 4))
  if (view.state === 'sending' && quarter > entry.quarter && quarter < 4) {
    const text = `${formatReference(facts)}: ${quarter * 25} % sent`
    announcer.say({ about: facts.id, kind: 'moved on', text })
  }
  entry.quarter = quarter
}

/**
 * Remembers an upload; a new one goes to the end of the list, so that no other moves.
 *
 * @param {UploadFacts} facts
 * @param {HTMLElement} [element] The row that the server wrote.
 */
function take(facts, element) {
  const known = entries.get(facts.id)
  if (known !== undefined) return change(known, facts)
  const row = createRow(element ?? copyBlank(facts.id), icons)
  const { state = '' } = row.element.dataset
  /** @type {Entry} */
  const entry = { facts, row, meter: createRateMeter(), state, quarter: 4 }
  entries.set(facts.id, entry)
  measure(entry)
  if (element !== undefined) return
  entry.state = ''
  entry.quarter = 0
  if (isEnded(facts)) putDown(entry)
  else runningList.append(row.element)
  touch(entry)
  count()
}

/**
 * @param {Entry} entry
 * @param {UploadFacts} facts
 */
function change(entry, facts) {
  const before = entry.facts
  entry.facts = facts
  if (facts.state !== before.state || facts.attempt !== before.attempt) entry.meter.restart()
  measure(entry)
  touch(entry)
  if (isEnded(facts) === isEnded(before)) return
  count()
  if (isEnded(facts)) setTimeout(() => putDown(entry), LINGER_MS)
}

/** @param {Entry} entry */
function measure({ facts, meter }) {
  if (facts.state === 'open') meter.add(Date.parse(facts.progressAt), Number(facts.bytes))
  if (facts.state === 'verifying') meter.add(Date.parse(facts.movedAt), Number(facts.verifiedBytes))
}

/**
 * Moves what has ended to the top of the others that have, unless somebody is at it right now.
 *
 * @param {Entry} entry
 */
function putDown(entry) {
  const { element } = entry.row
  if (!isEnded(entry.facts)) return
  if (element.isConnected && element.matches(':hover, :focus-within')) {
    setTimeout(() => putDown(entry), LINGER_MS)
    return
  }
  endedList.prepend(element)
  for (const last of Array.from(endedList.children).slice(endedMax)) {
    if (last instanceof HTMLElement) entries.delete(last.dataset.id ?? '')
    last.remove()
  }
  count()
}

/**
 * @param {string} id
 * @returns {HTMLElement}
 */
function copyBlank(id) {
  const element = document.importNode(blank.content, true).firstElementChild
  if (!(element instanceof HTMLElement)) throw new Error('The page has no blank row')
  element.dataset.id = id
  return element
}

const heading = find('#running-heading', HTMLElement)
const runningEmpty = find('#running-empty', HTMLElement)
const endedEmpty = find('#ended-empty', HTMLElement)

/** Writes how many run. */
function count() {
  let running = 0
  for (const { facts } of entries.values()) if (!isEnded(facts)) running++
  heading.textContent = formatCount(running)
  runningEmpty.hidden = runningList.childElementCount > 0
  endedEmpty.hidden = endedList.childElementCount > 0
  document.title = `${running === 0 ? '' : `(${running}) `}Uploads now · artifact`
}

/**
 * What is not in the new picture has ended, and nobody told how.
 *
 * @param {Set<string>} active
 */
function reset(active) {
  for (const entry of entries.values())
    if (!isEnded(entry.facts) && !active.has(entry.facts.id))
      change(entry, { ...entry.facts, state: 'unknown' })
}

const live = find('#live', HTMLElement)
const liveWord = find('#live .live-word', HTMLElement)
const seconds = new Intl.DateTimeFormat(undefined, { timeStyle: 'medium' })

/** @param {FeedState} state */
function showState(state) {
  live.dataset.live = state
  root.toggleAttribute('data-stale', state !== 'live')
  if (state === 'live') {
    lostAt = Number.POSITIVE_INFINITY
    liveWord.textContent = 'Live'
    return
  }
  lostAt = Math.min(lostAt, Date.now() + aheadMs)
  const since = seconds.format(new Date(lostAt - aheadMs))
  if (state === 'connecting') liveWord.textContent = 'Connecting'
  if (state === 'reconnecting') liveWord.textContent = `Reconnecting since ${since}`
  if (state === 'out') {
    const link = document.createElement('a')
    link.href = '/sign-in?next=/'
    link.textContent = 'Sign in again'
    liveWord.replaceChildren(`Signed out at ${since}. `, link)
  }
}

for (const element of document.querySelectorAll('.upload[data-facts]'))
  if (element instanceof HTMLElement) take(JSON.parse(element.dataset.facts ?? ''), element)
for (const entry of entries.values()) touch(entry)
showState('connecting')
// Ages go on by themselves; what has been written this second already says the same again.
setInterval(() => {
  for (const entry of entries.values()) touch(entry)
}, 1_000)
const feed = openFeed(root.dataset.after ?? '0', {
  onUpload: (upload) => take(pickFacts(upload)),
  onReset: reset,
  onState: showState,
})
// A page that is left must not say that it lost its connection; one that is come back to begins anew.
addEventListener('pagehide', () => feed.close())
addEventListener('pageshow', ({ persisted }) => {
  if (persisted) location.reload()
})
