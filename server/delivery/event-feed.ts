/**
 * Live events for any number of watchers: backfill, cutover, live.
 *
 * One LISTEN connection per server wakes one read of the outbox for all watchers; while nobody
 * watches, nothing is read. A watcher starts with the present state of every active upload, or with
 * what it missed since the event it saw last, and then gets what comes: no gap, no double. One that
 * reads too slowly is dropped, not buffered for ever; it comes back with the id of its last event.
 */
import { EventEmitter, once } from 'node:events'
import type { Event } from '../../schemas/event.ts'
import { ArtifactError } from '../../schemas/problems.ts'
import type { Sql } from '../records/database.ts'
import { findEventRange, listenForEvents, readEventHorizon, readEvents } from '../records/events.ts'
import { formatUpload, type UploadRecord } from '../records/upload-row.ts'
import { readPicture } from './picture.ts'

/** Events read at once. */
const BATCH = 500
/** Events that may wait for one watcher. */
const QUEUE_MAX = 2000
/** This often the feed looks by itself: a server can die between a commit and its announcement. */
const LOOK_MS = 1000
/** The same while events wait for a transaction under way, which may end without an announcement. */
const LOOK_SOON_MS = 20

/** What a watcher gets: an event, or only the word from where it may go on. */
export interface FeedStep {
  event: Event | undefined
  /** Of the last event seen; `undefined` inside the first picture, which is one whole. */
  resumeId: string | undefined
  /** Ends a picture that stands in for events that are not kept: the uploads in it. */
  reset?: string[]
}

export interface EventFeed extends AsyncDisposable {
  /**
   * Events that `isWanted`, until `signal` fires or the watcher is too slow (it then ends). Throws
   * `overloaded` at the call when too many watch.
   */
  watch(
    after: bigint | undefined,
    isWanted: (event: Event) => boolean,
    signal: AbortSignal,
  ): AsyncIterable<FeedStep>
}

interface Watcher {
  queue: Event[]
  isDropped: boolean
  bell: EventEmitter
}

/** Opens the feed of this process. */
export async function openEventFeed(
  sql: Sql,
  options: { watchersMax: number; onFault: (error: unknown) => void },
): Promise<EventFeed> {
  const watchers = new Set<Watcher>()
  /** Up to here events were offered to all who watch; `undefined` while nobody does. */
  let seen: bigint | undefined
  let pump = Promise.resolve()
  let isWoken = false
  let isClosed = false
  let timer: NodeJS.Timeout | undefined

  const readNews = async (): Promise<void> => {
    isWoken = false
    clearTimeout(timer)
    if (watchers.size === 0) seen = undefined
    let isHeldBack = false
    try {
      while (seen !== undefined) {
        const page = await readEvents(sql, seen, BATCH)
        for (const id of page.unread) options.onFault(new Error(`Event ${id} cannot be read`))
        for (const watcher of watchers) offer(watcher, page.events)
        seen = page.last
        isHeldBack = page.isHeldBack
        if (page.isEnd) break
      }
    } finally {
      if (seen !== undefined) timer = setTimeout(wake, isHeldBack ? LOOK_SOON_MS : LOOK_MS)
    }
  }
  const wake = (): void => {
    // One read that has not begun yet will see this news too.
    if (isWoken || isClosed) return
    isWoken = true
    pump = pump.then(readNews).catch(options.onFault)
  }
  const subscription = await listenForEvents(sql, wake)

  /** From then on what comes is offered to all who watch. */
  const begin = (): Promise<void> => {
    const begun = pump.then(async () => {
      if (seen !== undefined) return
      seen = (await readEventHorizon(sql)).last
      wake()
    })
    pump = begun.catch(() => undefined)
    return begun
  }

  async function* follow(
    after: bigint | undefined,
    isWanted: (event: Event) => boolean,
    signal: AbortSignal,
  ): AsyncIterable<FeedStep> {
    const watcher: Watcher = { queue: [], isDropped: false, bell: new EventEmitter() }
    watchers.add(watcher)
    try {
      // From here on live events queue up; those that the backfill has already are left out below.
      await begin()
      const isKnown = after !== undefined && (await isKept(sql, after))
      let last = isKnown ? after : -1n
      let pictured = new Set<bigint>()
      if (!isKnown) {
        const { last: newest, ahead, uploads } = await readPicture(sql)
        const shown = uploads.map((upload) => present(upload, newest)).filter(isWanted)
        for (const event of shown) yield { event, resumeId: undefined }
        last = newest
        pictured = ahead
        // Also when there was nothing to show: what comes from here on is not to be missed.
        const mark = { event: undefined, resumeId: last.toString() }
        yield after === undefined ? mark : { ...mark, reset: shown.map(({ upload }) => upload.id) }
      } else
        for await (const event of readMissed(sql, after)) {
          last = BigInt(event.id)
          if (isWanted(event)) yield { event, resumeId: event.id }
        }
      for await (const event of live(watcher, signal)) {
        const id = BigInt(event.id)
        if (pictured.delete(id) || id <= last) continue
        if (isWanted(event)) yield { event, resumeId: event.id }
      }
    } finally {
      watchers.delete(watcher)
    }
  }

  return {
    watch(after, isWanted, signal) {
      // At the call, so that the door can still answer with this instead of a stream.
      if (watchers.size >= options.watchersMax)
        throw new ArtifactError('overloaded', 'Cannot watch: too many watch already', {
          expected: `at most ${options.watchersMax}`,
          retryAfterSeconds: 10,
        })
      return follow(after, isWanted, signal)
    },
    async [Symbol.asyncDispose]() {
      isClosed = true
      for (const watcher of watchers) drop(watcher)
      await subscription.unlisten()
      await pump
      clearTimeout(timer)
    },
  }
}

function offer(watcher: Watcher, events: readonly Event[]): void {
  if (events.length === 0) return
  watcher.queue.push(...events)
  if (watcher.queue.length > QUEUE_MAX) drop(watcher)
  watcher.bell.emit('news')
}

function drop(watcher: Watcher): void {
  watcher.queue = []
  watcher.isDropped = true
  watcher.bell.emit('news')
}

async function* live(watcher: Watcher, signal: AbortSignal): AsyncIterable<Event> {
  while (!watcher.isDropped && !signal.aborted) {
    const events = watcher.queue
    watcher.queue = []
    yield* events
    if (watcher.queue.length === 0 && !watcher.isDropped)
      await once(watcher.bell, 'news', { signal }).catch(() => undefined)
  }
}

/**
 * Whether every event after this one is still there. One that was never given out, as after a
 * restore of an older database, is not known either.
 */
async function isKept(sql: Sql, after: bigint): Promise<boolean> {
  const { first, last } = await findEventRange(sql)
  return after + 1n >= first && after <= last
}

async function* readMissed(sql: Sql, after: bigint): AsyncIterable<Event> {
  let last = after
  for (;;) {
    const page = await readEvents(sql, last, BATCH)
    yield* page.events
    last = page.last
    if (page.isEnd) return
  }
}

/** An active upload of a picture, as an event. */
function present(upload: UploadRecord, last: bigint): Event {
  return {
    id: last.toString(),
    kind: 'upload',
    at: upload.movedAt.toISOString(),
    upload: formatUpload(upload),
  }
}
