/** Door of `/v1/events`: server-sent events (HTML Living Standard, section 9.2). */
import { endpoints } from '../../schemas/api.ts'
import type { Beat, Event, Reset } from '../../schemas/event.ts'
import { isAllowed, type Principal } from '../access/scopes.ts'
import type { Clock } from '../clock.ts'
import type { EventFeed, FeedStep } from '../delivery/event-feed.ts'
import { type App, invalid, mount } from './mount.ts'

/** This often the stream says that it lives, and asks whether the watcher may still see it. */
const BEAT_MS = 10_000

interface Wanted {
  task?: string | undefined
  run?: number | undefined
  upload?: string | undefined
}

export interface EventParts {
  feed: EventFeed
  clock: Clock
  /** Whether somebody who was let in still is: a token may end while its stream is open. */
  isLive: (principal: Principal) => Promise<boolean>
  /** Ends all streams when the server shuts down. */
  stop: AbortSignal
}

/** Door to the live feed. */
export function mountEvents(app: App, { feed, clock, isLive, stop }: EventParts): void {
  mount(
    app,
    'watchEvents',
    endpoints.watchEvents,
    async ({ query, principal, headers: asked, signal }) => {
      const after = asked.get('last-event-id') ?? query.after
      if (after !== undefined && !/^[0-9]{1,18}$/.test(after))
        throw invalid([
          { field: 'last-event-id', expected: 'the id of an event', found: after.slice(0, 40) },
        ])
      const isWanted = (event: Event) => matches(event, query, principal)
      const over = new AbortController()
      const gone = AbortSignal.any([signal, stop, over.signal])
      const events = feed.watch(after === undefined ? undefined : BigInt(after), isWanted, gone)
      const beat = async () => {
        if (await isLive(principal)) return formatBeat(clock())
        over.abort()
        return undefined
      }
      const headers = {
        'content-type': 'text/event-stream',
        'cache-control': 'no-store',
        // Asks nginx-like proxies not to hold events back.
        'x-accel-buffering': 'no',
      }
      const stream = ReadableStream.from(formatStream(events, beat, gone))
      return { raw: new Response(stream, { headers }) }
    },
  )
}

function matches({ upload }: Event, wanted: Wanted, principal: Principal): boolean {
  const { task, run, name, id } = upload
  return (
    (wanted.task ?? task) === task &&
    (wanted.run ?? run) === run &&
    (wanted.upload ?? id) === id &&
    isAllowed(principal, 'list', task, name)
  )
}

/** The stream as text; ends when `beat` has nothing more to say. */
async function* formatStream(
  steps: AsyncIterable<FeedStep>,
  beat: () => Promise<string | undefined>,
  signal: AbortSignal,
): AsyncIterable<Uint8Array> {
  const encoder = new TextEncoder()
  // Says that the stream is open, and how soon to come back, before the first event.
  yield encoder.encode('retry: 1000\n\n')
  for await (const step of withBeats(steps, signal)) {
    const text = step === 'beat' ? await beat() : formatStep(step)
    if (text === undefined) return
    yield encoder.encode(text)
  }
}

/** Without data it is no event to the reader, and still moves the id that it comes back with. */
function formatStep({ event, resumeId, reset }: FeedStep): string {
  const id = resumeId === undefined ? '' : `id: ${resumeId}\n`
  if (reset !== undefined)
    return `${id}event: reset\ndata: ${JSON.stringify({ uploads: reset } satisfies Reset)}\n\n`
  const data = event && `event: ${event.kind}\ndata: ${JSON.stringify(event)}\n`
  return `${id}${data ?? ''}\n`
}

function formatBeat(at: Date): string {
  return `event: beat\ndata: ${JSON.stringify({ at: at.toISOString() } satisfies Beat)}\n\n`
}

/** The steps, and a beat every now and then, however busy or quiet they are. */
async function* withBeats(
  steps: AsyncIterable<FeedStep>,
  signal: AbortSignal,
): AsyncIterable<FeedStep | 'beat'> {
  const iterator = steps[Symbol.asyncIterator]()
  let isDue = false
  let ring = Promise.withResolvers<undefined>()
  const timer = setInterval(() => {
    isDue = true
    ring.resolve(undefined)
  }, BEAT_MS)
  try {
    let next = iterator.next()
    // What it throws is met below; until then nobody waits for it while a beat is written.
    next.catch(() => undefined)
    while (!signal.aborted) {
      const result = await Promise.race(isDue ? [ring.promise] : [next, ring.promise])
      if (result === undefined) {
        isDue = false
        ring = Promise.withResolvers<undefined>()
        yield 'beat'
        continue
      }
      if (result.done === true) return
      yield result.value
      next = iterator.next()
      next.catch(() => undefined)
    }
  } finally {
    clearInterval(timer)
    await iterator.return?.()
  }
}
