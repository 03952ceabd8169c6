/**
 * Server-sent events (WHATWG HTML, section 9.2) as an async iterable that survives its connection.
 */
import { Event } from '../schemas/event.ts'
import { ArtifactError } from '../schemas/problems.ts'
import { type CallInput, isPassing, sendCall } from './api.ts'
import type { Connection } from './transfer/connection.ts'
import { pause, retryDelayMs } from './transfer/retry.ts'

/** Longest event, and longest line of one: an upload with all its labels fits. */
const EVENT_CHARS_MAX = 1024 ** 2
/** Failures in a row, without one event between them, before it gives up. */
const FAILURES_MAX = 10

/**
 * Events as they happen, without gap or double: when the connection breaks it is made anew after
 * the last event seen. Ends when `signal` fires; throws what cannot be mended by trying again.
 */
export async function* watch(
  connection: Connection,
  query: NonNullable<CallInput<'watchEvents'>['query']>,
  { signal }: { signal?: AbortSignal | undefined } = {},
): AsyncGenerator<Event> {
  let last: string | undefined
  for (let failures = 0; ; ) {
    try {
      const resume = last === undefined ? {} : { 'last-event-id': last }
      const reply = await sendCall(
        connection,
        'watchEvents',
        { query },
        'text/event-stream',
        signal,
        resume,
      )
      for await (const { id, name, data } of readEventStream(reply.body)) {
        failures = 0
        last = id ?? last
        // Others keep the stream alive, or are for those who show everything at once.
        if (name === 'upload' && data !== undefined) yield parseEvent(data)
      }
    } catch (error) {
      if (signal?.aborted === true) return
      failures++
      if (!isPassing(error) || failures >= FAILURES_MAX) throw error
    }
    if (signal?.aborted === true) return
    // Also after a quiet end: the server shuts down, or dropped a watcher that was too slow.
    await pause(retryDelayMs(connection.timing, Math.max(1, failures)), signal).catch(
      () => undefined,
    )
  }
}

interface StreamedEvent {
  id: string | undefined
  /** What kind of event it is; `message` when it does not say. */
  name: string
  /** `undefined`: only the id moved, to where a reader that comes back goes on. */
  data: string | undefined
}

/** Events of one stream; comments, which keep the connection alive, are passed over. */
export async function* readEventStream(
  body: AsyncIterable<Uint8Array>,
): AsyncGenerator<StreamedEvent> {
  let id: string | undefined
  let sent: string | undefined
  let name = 'message'
  let data: string[] = []
  let dataChars = 0
  for await (const line of readLines(body)) {
    if (line === '') {
      const isNews = data.length > 0 || id !== sent
      if (isNews) yield { id, name, data: data.length > 0 ? data.join('\n') : undefined }
      sent = id
      name = 'message'
      data = []
      dataChars = 0
      continue
    }
    const [, field, value = ''] = /^([^:]*)(?:: ?(.*))?$/s.exec(line) ?? []
    if (field === 'id' && !value.includes('\0')) id = value
    if (field === 'event') name = value
    if (field !== 'data') continue
    data.push(value)
    // A line that says nothing takes memory, too.
    dataChars += value.length + 1
    if (dataChars > EVENT_CHARS_MAX) throw tooLarge()
  }
}

/** Lines that end in LF or CR LF; what follows the last one is no line yet. */
async function* readLines(body: AsyncIterable<Uint8Array>): AsyncGenerator<string> {
  const decoder = new TextDecoder()
  let rest = ''
  for await (const chunk of body) {
    const lines = (rest + decoder.decode(chunk, { stream: true })).split('\n')
    rest = lines.pop() ?? ''
    if (rest.length > EVENT_CHARS_MAX) throw tooLarge()
    for (const line of lines) yield line.endsWith('\r') ? line.slice(0, -1) : line
  }
}

function tooLarge(): ArtifactError {
  return new ArtifactError('bad_reply', 'Cannot watch: an event is too large', {
    expected: `at most ${EVENT_CHARS_MAX} characters`,
  })
}

function parseEvent(data: string): Event {
  const parsed = Event.safeParse(tryParseJson(data))
  if (parsed.success) return parsed.data
  throw new ArtifactError('bad_reply', 'Cannot watch: an event is not as promised', {
    found: data.slice(0, 200),
  })
}

function tryParseJson(text: string): unknown {
  try {
    return JSON.parse(text)
  } catch {
    return undefined
  }
}
