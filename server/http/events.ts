/** Door of `/v1/events`: server-sent events (HTML Living Standard, section 9.2). */
import { endpoints } from '../../schemas/api.ts'
import type { Event } from '../../schemas/event.ts'
import { isAllowed, type Principal } from '../access/scopes.ts'
import type { EventFeed, FeedStep } from '../delivery/event-feed.ts'
import { type App, invalid, mount } from './mount.ts'

/** A comment this often keeps proxies from closing a quiet stream. */
const HEARTBEAT_MS = 15_000

interface Wanted {
  task?: string | undefined
  run?: number | undefined
  upload?: string | undefined
}

/** `stop` ends all streams when the server shuts down. */
export function mountEvents(app: App, feed: EventFeed, stop: AbortSignal): void {
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
      const gone = AbortSignal.any([signal, stop])
      const events = feed.watch(after === undefined ? undefined : BigInt(after), isWanted, gone)
      const headers = {
        'content-type': 'text/event-stream',
        'cache-control': 'no-store',
        // Asks nginx-like proxies not to hold events back.
        'x-accel-buffering': 'no',
      }
      return { raw: new Response(ReadableStream.from(formatStream(events, gone)), { headers }) }
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

async function* formatStream(
  steps: AsyncIterable<FeedStep>,
  signal: AbortSignal,
): AsyncIterable<Uint8Array> {
  const encoder = new TextEncoder()
  // Says that the stream is open, and how soon to come back, before the first event.
  yield encoder.encode('retry: 1000\n\n')
  for await (const step of withHeartbeat(steps, signal))
    yield encoder.encode(step === undefined ? ':\n\n' : formatStep(step))
}

/** Without data it is no event to the reader, and still moves the id that it comes back with. */
function formatStep({ event, resumeId }: FeedStep): string {
  const id = resumeId === undefined ? '' : `id: ${resumeId}\n`
  const data = event && `event: ${event.kind}\ndata: ${JSON.stringify(event)}\n`
  return `${id}${data ?? ''}\n`
}

/** The steps, and `undefined` whenever there was none for a while. */
async function* withHeartbeat(
  steps: AsyncIterable<FeedStep>,
  signal: AbortSignal,
): AsyncIterable<FeedStep | undefined> {
  const iterator = steps[Symbol.asyncIterator]()
  try {
    let next = iterator.next()
    while (!signal.aborted) {
      const result = await orSilence(next)
      if (result === undefined) {
        yield undefined
        continue
      }
      if (result.done === true) return
      yield result.value
      next = iterator.next()
    }
  } finally {
    await iterator.return?.()
  }
}

async function orSilence<T>(promise: Promise<T>): Promise<T | undefined> {
  let timer: NodeJS.Timeout | undefined
  const silence = new Promise<undefined>((resolve) => {
    timer = setTimeout(resolve, HEARTBEAT_MS, undefined)
  })
  try {
    return await Promise.race([promise, silence])
  } finally {
    clearTimeout(timer)
  }
}
