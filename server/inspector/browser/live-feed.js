/**
 * The live feed of the server, kept open: `/v1/events` (HTML Living Standard, section 9.2). The browser
 * comes back by itself when the connection breaks; when the server answered with an error it does not,
 * and this does, after the last event that was seen: no gap, and nothing twice.
 */

/**
 * @typedef {'connecting' | 'live' | 'reconnecting' | 'out'} FeedState `out`: nobody is signed in any more.
 */

/**
 * @typedef {object} FeedHandlers
 * @property {(upload: import('../../../schemas/upload.ts').Upload) => void} onUpload
 * @property {(ids: Set<string>) => void} onReset What is active, all of it: the picture was drawn anew.
 * @property {(state: FeedState) => void} onState
 */

/** The server says something every ten seconds: after this silence the connection is dead. */
const SILENCE_MS = 45_000
const RETRY_FIRST_MS = 1_000
const RETRY_MAX_MS = 20_000

/**
 * Opens the feed after the event with this id.
 *
 * @param {string} after
 * @param {FeedHandlers} handlers
 */
export function openFeed(after, { onUpload, onReset, onState }) {
  let last = BigInt(after)
  let retryMs = RETRY_FIRST_MS
  let heardAt = Date.now()
  /** @type {EventSource | undefined} */
  let source
  /** @type {ReturnType<typeof setTimeout> | undefined} */
  let retry
  /** @type {FeedState} */
  let state = 'connecting'

  /** @param {FeedState} next */
  const enter = (next) => {
    if (state === next) return
    state = next
    onState(next)
  }
  const hear = () => {
    heardAt = Date.now()
  }

  const connect = () => {
    source?.close()
    hear()
    const opened = new EventSource(`/v1/events?after=${last}`)
    source = opened
    opened.addEventListener('open', () => {
      hear()
      retryMs = RETRY_FIRST_MS
      enter('live')
    })
    opened.addEventListener('beat', hear)
    opened.addEventListener('upload', (message) => {
      hear()
      const event = JSON.parse(message.data)
      // An event of a picture has no place in the order: the id of the stream is not its own.
      if (message.lastEventId === event.id) {
        if (BigInt(event.id) <= last) return
        last = BigInt(event.id)
      }
      onUpload(event.upload)
    })
    opened.addEventListener('reset', (message) => {
      hear()
      last = BigInt(message.lastEventId)
      onReset(new Set(JSON.parse(message.data).uploads))
    })
    opened.addEventListener('error', () => {
      if (source !== opened) return
      enter('reconnecting')
      if (opened.readyState === EventSource.CLOSED) void comeBack()
    })
  }

  /** The server answered with an error, and the browser does not say which. */
  const comeBack = async () => {
    source?.close()
    source = undefined
    if (await isSignedOut()) return enter('out')
    clearTimeout(retry)
    retry = setTimeout(connect, retryMs)
    retryMs = Math.min(RETRY_MAX_MS, retryMs * 2)
  }

  const watch = setInterval(() => {
    if (source === undefined || Date.now() - heardAt < SILENCE_MS) return
    enter('reconnecting')
    connect()
  }, 5_000)

  const close = () => {
    clearInterval(watch)
    clearTimeout(retry)
    source?.close()
    source = undefined
  }
  connect()
  return { close }
}

/** @returns {Promise<boolean>} Whether the server says so; no answer says nothing. */
async function isSignedOut() {
  try {
    const reply = await fetch('/session', { headers: { accept: 'application/json' } })
    return reply.ok && (await reply.json()).signedIn === false
  } catch {
    return false
  }
}
