/**
 * The download of an artifact: hashed in a worker while it comes, kept only when size, every part and
 * the whole agree with the record on the page.
 *
 * @import { Answer, Question } from './hash-worker.js'
 * @import { Refusal } from './stream-check.js'
 * @import { Sink } from './download-sink.js'
 */
import { findSinkObstacle, openSink, removeStaleDownloads } from './download-sink.js'
import { formatDuration, formatSize, groupDigest } from './measures.js'

/** Chunks that are with the worker at the same time. */
const CHUNKS_MAX = 8
/** Bytes that go to the worker, and on to the file, at once: every passage has its price. */
const CHUNK_BYTES = 1024 * 1024
const NUMBERS_MS = 500

/** The bytes are not those of the record. */
class Refused extends Error {
  /** @param {Refusal} refusal */
  constructor(refusal) {
    super('refused')
    this.refusal = refusal
  }
}

/** Something that the visitor should read. */
class Trouble extends Error {}

const place = document.getElementById('download')
if (place !== null) await prepare(place)

/** @param {string} id @returns {HTMLElement} */
function find(id) {
  const element = document.getElementById(id)
  if (element === null) throw new Error(`The page has no ${id}`)
  return element
}

/** @param {HTMLElement} place */
async function prepare(place) {
  const start = find('download-start')
  const cancel = find('download-cancel')
  removeStaleDownloads().catch(() => undefined)
  const obstacle = await findSinkObstacle(Number(place.dataset.size))
  if (obstacle !== undefined) {
    say(`${obstacle} The command above gets it, and checks it too.`)
    return
  }
  start.hidden = false
  start.addEventListener('click', async () => {
    const stop = new AbortController()
    const onCancel = () => stop.abort(new Trouble('Cancelled. Nothing was kept.'))
    cancel.addEventListener('click', onCancel)
    setRunning(true)
    await run(place, stop)
    setRunning(false)
    cancel.removeEventListener('click', onCancel)
  })
}

/** @param {boolean} isRunning */
function setRunning(isRunning) {
  const start = find('download-start')
  const cancel = find('download-cancel')
  const hadFocus = document.activeElement === start || document.activeElement === cancel
  start.hidden = isRunning
  cancel.hidden = !isRunning
  find('download-progress').hidden = !isRunning
  const bar = find('download-bar')
  if (bar instanceof HTMLProgressElement) bar.value = 0
  find('download-numbers').textContent = ''
  if (hadFocus) (isRunning ? cancel : start).focus()
}

/** @param {HTMLElement} place @param {AbortController} stop */
async function run(place, stop) {
  const { file = 'artifact', type = '', size = '0' } = place.dataset
  find('download-refusal').replaceChildren()
  say('Choose where to keep it.')
  /** @type {Sink | undefined} */
  let sink
  try {
    sink = await openSink(file, type, Number(size))
    say('Downloading. Every byte is hashed before the file is yours.')
    await transfer(place, sink, stop)
    say(`Verified: size, every part and the SHA-256 agree; ${await sink.keep()}.`, 'good')
  } catch (error) {
    stop.abort()
    await sink?.discard()
    explain(stop.signal.reason instanceof Trouble ? stop.signal.reason : error)
  }
}

/** @param {HTMLElement} place @param {Sink} sink @param {AbortController} stop */
async function transfer(place, sink, stop) {
  const expected = await readExpected(place, stop.signal)
  const worker = new Worker(new URL('./hash-worker.js', import.meta.url), { type: 'module' })
  try {
    const hashing = createHashing(worker, stop)
    await hashing.ask({ kind: 'begin', expected })
    const body = await openBody(place, stop.signal)
    await pump(body, hashing, sink, expected.sizeBytes, stop.signal)
    const end = await hashing.ask({ kind: 'end' })
    if (end.kind !== 'end') throw new Trouble('The check did not end. Nothing was kept.')
    if (end.refusal !== undefined) throw new Refused(end.refusal)
  } finally {
    worker.terminate()
  }
}

/** @param {HTMLElement} place @param {AbortSignal} signal */
async function readExpected(place, signal) {
  const { parts = '', size = '', sha256 = '' } = place.dataset
  const reply = await fetch(parts, { signal })
  if (!reply.ok) throw new Trouble(await describeReply(reply))
  const record = await reply.json()
  return { sizeBytes: Number(size), sha256, parts: record.parts }
}

/** @param {HTMLElement} place @param {AbortSignal} signal */
async function openBody(place, signal) {
  const { content = '', store } = place.dataset
  const reply = await fetch(content, { signal, headers: { accept: 'application/json' } })
  if (!reply.ok) throw new Trouble(await describeReply(reply))
  const { url, headers } = await reply.json()
  const bytes = await fetch(url, {
    ...{ headers, signal, cache: 'no-store', credentials: 'omit', referrerPolicy: 'no-referrer' },
  }).catch((error) => {
    if (store === undefined || signal.aborted) throw error
    throw new Trouble(
      `The store at ${store} does not answer this page: it cannot be reached, or its bucket has no CORS rule for ${location.origin}. The command above gets it all the same.`,
    )
  })
  if (!bytes.ok || bytes.body === null) throw new Trouble(await describeReply(bytes))
  return bytes.body
}

/**
 * @param {ReadableStream<Uint8Array<ArrayBuffer>>} body
 * @param {ReturnType<typeof createHashing>} hashing
 * @param {Sink} sink
 * @param {number} sizeBytes
 * @param {AbortSignal} signal
 */
async function pump(body, hashing, sink, sizeBytes, signal) {
  const began = performance.now()
  const reader = body.getReader()
  let seenBytes = 0
  let saidAt = began
  /** @type {Promise<void>[]} In order; the worker answers in order too. */
  const underWay = []
  let writing = Promise.resolve()
  const gathered = createGatherer(CHUNK_BYTES)
  /** @param {Uint8Array<ArrayBuffer>} bytes */
  const pass = async (bytes) => {
    const answer = await hashing.ask({ kind: 'chunk', bytes }, [bytes.buffer])
    if (answer.kind !== 'chunk') throw new Trouble('The check broke off. Nothing was kept.')
    if (answer.refusal !== undefined) throw new Refused(answer.refusal)
    writing = writing.then(() => sink.write(answer.bytes))
    await writing
  }
  try {
    for (;;) {
      const { done, value } = await reader.read()
      if (done) break
      signal.throwIfAborted()
      seenBytes += value.byteLength
      for (const bytes of gathered.add(value)) {
        const passing = pass(bytes)
        passing.catch(() => undefined)
        underWay.push(passing)
        if (underWay.length >= CHUNKS_MAX) await underWay.shift()
      }
      const now = performance.now()
      if (now - saidAt >= NUMBERS_MS) {
        saidAt = now
        showNumbers(seenBytes, sizeBytes, (now - began) / 1000)
      }
    }
    underWay.push(pass(gathered.rest()))
    await Promise.all(underWay)
  } catch (error) {
    await reader.cancel().catch(() => undefined)
    throw error
  }
}

/**
 * Makes chunks of one size from whatever comes. Each is a buffer of its own, since it is handed over.
 *
 * @param {number} chunkBytes
 */
function createGatherer(chunkBytes) {
  let chunk = new Uint8Array(chunkBytes)
  let filledBytes = 0
  return {
    /** @param {Uint8Array} bytes @returns {Uint8Array<ArrayBuffer>[]} The chunks that it fills. */
    add(bytes) {
      const full = []
      for (let rest = bytes; rest.length > 0; ) {
        const taken = rest.subarray(0, chunkBytes - filledBytes)
        chunk.set(taken, filledBytes)
        filledBytes += taken.length
        rest = rest.subarray(taken.length)
        if (filledBytes < chunkBytes) continue
        full.push(chunk)
        chunk = new Uint8Array(chunkBytes)
        filledBytes = 0
      }
      return full
    },
    /** What is left at the end. */
    rest: () => chunk.slice(0, filledBytes),
  }
}

/** @param {Worker} worker @param {AbortController} stop */
function createHashing(worker, stop) {
  /** @type {PromiseWithResolvers<Answer>[]} */
  const waiting = []
  /** @param {unknown} error */
  const fail = (error) => {
    for (const { reject } of waiting.splice(0)) reject(error)
  }
  worker.addEventListener('message', (/** @type {MessageEvent<Answer>} */ { data }) => {
    if (data.kind === 'broken') fail(new Trouble(`The check broke off: ${data.reason}`))
    else waiting.shift()?.resolve(data)
  })
  worker.addEventListener('error', (event) => {
    event.preventDefault()
    fail(new Trouble('The check could not start. Nothing was kept.'))
  })
  stop.signal.addEventListener('abort', () => fail(stop.signal.reason))
  return {
    /** @param {Question} question @param {ArrayBuffer[]} [buffers] @returns {Promise<Answer>} */
    ask(question, buffers = []) {
      const pending = Promise.withResolvers()
      waiting.push(pending)
      worker.postMessage(question, buffers)
      return pending.promise
    },
  }
}

/** @param {number} seenBytes @param {number} sizeBytes @param {number} seconds */
function showNumbers(seenBytes, sizeBytes, seconds) {
  const bar = find('download-bar')
  if (bar instanceof HTMLProgressElement) bar.value = (seenBytes / Math.max(1, sizeBytes)) * 1000
  const rate = seenBytes / seconds
  const left = formatDuration((sizeBytes - seenBytes) / Math.max(1, rate))
  find('download-numbers').textContent =
    `${formatSize(seenBytes)} of ${formatSize(sizeBytes)} · ${formatSize(rate)}/s · ${left} left`
}

/** @param {unknown} error */
function explain(error) {
  if (error instanceof Refused) return refuse(error.refusal)
  if (error instanceof Trouble) return say(error.message, 'bad')
  if (error instanceof DOMException && error.name === 'AbortError') return say('')
  say(`It broke off: ${error instanceof Error ? error.message : error}. Nothing was kept.`, 'bad')
}

/** @param {Refusal} refusal */
function refuse({ what, number, expected, found }) {
  const things = { size: 'The size', part: `Part ${number}`, whole: 'The SHA-256 of the whole' }
  say(`Refused: ${things[what]} does not agree with the record. Nothing was kept.`, 'bad')
  const list = document.createElement('dl')
  list.className = 'facts'
  for (const [word, value] of [
    ['Expected', expected],
    ['Found', found],
  ]) {
    const row = document.createElement('div')
    row.className = 'fact-wide'
    const term = document.createElement('dt')
    const text = document.createElement('dd')
    const code = document.createElement('code')
    term.textContent = word ?? ''
    code.className = what === 'size' ? '' : 'digest'
    if (what === 'size') code.textContent = `${value} bytes`
    else
      code.append(
        ...groupDigest(value ?? '').map((group) => {
          const span = document.createElement('span')
          span.textContent = group
          return span
        }),
      )
    text.append(code)
    row.append(term, text)
    list.append(row)
  }
  const advice = document.createElement('p')
  advice.textContent =
    'What the store sent is not what was sealed. Tell whoever runs this service; do not try to get it in another way.'
  find('download-refusal').replaceChildren(list, advice)
}

/** @param {string} words @param {'good' | 'bad' | ''} [tone] */
function say(words, tone = '') {
  const place = find('download-words')
  place.textContent = words
  place.dataset.tone = tone
}

/** @param {Response} reply */
async function describeReply(reply) {
  const problem = await reply.json().catch(() => undefined)
  return `${problem?.detail ?? `The server answered ${reply.status}`}. Nothing was kept.`
}
