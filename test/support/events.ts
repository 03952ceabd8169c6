/** A watcher of `/v1/events` for tests: it takes one event at a time, and can be left standing. */
import { request } from 'undici'
import { readEventStream } from '../../client/watch.ts'
import { Event } from '../../schemas/event.ts'
import type { TestServer } from './server.ts'

export interface TestWatcher extends AsyncDisposable {
  readonly status: number
  /** Where it would go on if it came back now. */
  readonly lastEventId: string | undefined
  /** The next event; throws when the stream has ended. */
  next(): Promise<Event>
  /** Resolves when the stream has said from where it can be gone on with. */
  whenCurrent(): Promise<void>
  /** Events up to and with the first one that `isLast`. */
  until(isLast: (event: Event) => boolean): Promise<Event[]>
  /** All events until the stream ends. */
  rest(): Promise<Event[]>
}

export async function watchEvents(
  server: Pick<TestServer, 'url' | 'token'>,
  query = '',
  options: { token?: string; lastEventId?: string | undefined } = {},
): Promise<TestWatcher> {
  const stop = new AbortController()
  const { lastEventId: after } = options
  const reply = await request(`${server.url}/v1/events${query}`, {
    headers: {
      authorization: `Bearer ${options.token ?? server.token}`,
      ...(after === undefined ? {} : { 'last-event-id': after }),
    },
    signal: stop.signal,
  })
  // An aborted body says so to whoever listens; nobody does after the end of the test.
  reply.body.on('error', () => undefined)
  const stream = readEventStream(reply.body)
  let lastEventId = after
  let waiting: Event[] = []
  const step = async (): Promise<Event | 'moved' | 'ended'> => {
    const { value, done } = await stream.next()
    if (done === true) return 'ended'
    lastEventId = value.id ?? lastEventId
    if (value.data === undefined || value.name !== 'upload') return 'moved'
    return Event.parse(JSON.parse(value.data))
  }
  const take = async (): Promise<Event | undefined> => {
    const early = waiting.shift()
    if (early !== undefined) return early
    for (;;) {
      const result = await step()
      if (result === 'ended') return undefined
      if (result !== 'moved') return result
    }
  }
  const watcher: Omit<TestWatcher, typeof Symbol.asyncDispose | 'lastEventId'> = {
    status: reply.statusCode,
    async next() {
      const event = await take()
      if (event === undefined) throw new Error('The stream of events has ended')
      return event
    },
    async whenCurrent() {
      const seen: Event[] = []
      while (lastEventId === undefined) {
        const result = await step()
        if (result === 'ended') throw new Error('The stream of events has ended')
        if (result !== 'moved') seen.push(result)
      }
      waiting = [...waiting, ...seen]
    },
    async until(isLast) {
      const events: Event[] = []
      for (;;) {
        const event = await watcher.next()
        events.push(event)
        if (isLast(event)) return events
      }
    },
    async rest() {
      const events: Event[] = []
      for (let event = await take(); event !== undefined; event = await take()) events.push(event)
      return events
    },
  }
  return {
    ...watcher,
    get lastEventId() {
      return lastEventId
    },
    async [Symbol.asyncDispose]() {
      stop.abort()
      reply.body.destroy()
    },
  }
}
