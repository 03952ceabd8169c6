/**
 * One memory for what large requests and answers hold while this server is at them. It is counted, not
 * made: who finds it full waits for his turn instead of adding to what is there. Of a body counts what
 * has come of it, so a slow sender has little.
 *
 * Nobody can keep the others out. One caller has no more than its share, however many requests it
 * makes. And while a peer has to send or to read, it must keep a pace as soon as somebody waits, or it
 * is cut off. When all who are in wait for more, the one who is in longest gets it, though there is
 * none: else they would wait for each other. Once he is done there is more for the next.
 */
import { ArtifactError } from '../schemas/problems.ts'

export interface RoomOptions {
  /** Held at once by all. */
  bytes: number
  /** What one caller may have of it, above 0 to 1. */
  share: number
  /** Requests that may wait for it. */
  waitingMax: number
  /** How long one waits, in ms. */
  patienceMs: number
  /** A peer has this long, in ms, to move {@link RoomOptions.paceBytes} while somebody waits. */
  paceMs: number
  paceBytes: number
}

export interface Room {
  /**
   * Waits until so many bytes are free for this caller, in the order of asking; more than a caller may
   * have count as all of that. Who waits for others of the same caller holds nobody else up. Throws
   * `overloaded` when too many wait, or it takes too long, and the reason of the signal.
   */
  enter(caller: string, bytes: number, signal?: AbortSignal): Promise<Stay>
}

/** Memory that is counted as held until it is disposed of, which may be repeated. */
export interface Stay extends Disposable {
  /**
   * Waits for so many bytes more, and throws, as `enter` does. A peer at its turn is not cut off for
   * what it cannot move meanwhile.
   */
  grow(bytes: number, signal?: AbortSignal): Promise<void>
  /** From now until that is disposed of it is the peer's turn; `cut` ends what it is too slow for. */
  awaitPeer(cut: () => void): Turn
}

/** A peer at its turn. */
export interface Turn extends Disposable {
  /** It sent or took so many bytes. */
  moved(bytes: number): void
}

/** All but the size, which is a setting. */
const TERMS: Omit<RoomOptions, 'bytes'> = {
  share: 0.75,
  waitingMax: 1000,
  patienceMs: 60_000,
  paceMs: 10_000,
  paceBytes: 64 * 1024,
}

/** Of the memory for what is worked on, so much more for bodies that are still coming. */
const ARRIVALS = 0.25

/**
 * The rooms of a server: for requests and answers that are worked on, and for bodies while they come,
 * so that who sends slowly keeps nobody from anything but sending.
 */
export function createRooms(bytes: number, terms: Partial<RoomOptions> = {}) {
  const options = { bytes, ...TERMS, ...terms }
  return {
    room: createRoom(options),
    arrivals: createRoom({ ...options, bytes: options.bytes * ARRIVALS }),
  }
}

/** Who is in, as far as it matters to the others. */
interface Place {
  caller: string
  bytes: number
  isGrowing: boolean
}

interface Waiting {
  place: Place
  bytes: number
  wake: () => void
}

interface Watched {
  cut: () => void
  isHeldUp: () => boolean
  movedBytes: number
  sinceMs: number
}

/** Makes an empty room. */
export function createRoom(options: RoomOptions): Room {
  const waiting: Waiting[] = []
  const peers = createPeers(options, () => waiting.length > 0)
  const shareBytes = Math.ceil(options.bytes * options.share)
  const held = new Map<string, number>()
  /** In the order in which they came in. */
  const places = new Set<Place>()
  let free = options.bytes
  const take = (place: Place, bytes: number) => {
    const { caller } = place
    const after = (held.get(caller) ?? 0) + bytes
    free -= bytes
    place.bytes += bytes
    if (after === 0) held.delete(caller)
    else held.set(caller, after)
  }
  const hasShare = ({ caller }: Place, bytes: number) =>
    (held.get(caller) ?? 0) + bytes <= shareBytes
  const admit = (next: Waiting) => {
    waiting.splice(waiting.indexOf(next), 1)
    places.add(next.place)
    next.place.isGrowing = false
    take(next.place, next.bytes)
    next.wake()
  }
  const serve = () => {
    // Also of one caller, small ones do not starve a large one.
    const stopped = new Set<string>()
    for (const next of [...waiting]) {
      const { caller } = next.place
      if (stopped.has(caller)) continue
      if (!hasShare(next.place, next.bytes)) {
        stopped.add(caller)
        continue
      }
      if (next.bytes > free) break
      admit(next)
    }
    if (![...places].every(({ isGrowing }) => isGrowing)) return
    const [oldest] = places
    const stuck = waiting.find(({ place }) => place === oldest)
    if (stuck !== undefined) admit(stuck)
  }
  const wait = async (
    place: Place,
    bytes: number,
    signal: AbortSignal | undefined,
  ): Promise<void> => {
    const { promise, resolve, reject } = Promise.withResolvers<void>()
    const waiter = { place, bytes, wake: resolve }
    const leave = (reason: unknown) => {
      const index = waiting.indexOf(waiter)
      // It is in already, and about to hear of it.
      if (index < 0) return
      waiting.splice(index, 1)
      place.isGrowing = false
      reject(reason)
      serve()
    }
    const abort = () => leave(signal?.reason)
    const timer = setTimeout(() => leave(crowded()), options.patienceMs)
    place.isGrowing = places.has(place)
    // Who is in goes before who is not: with that he is done the sooner.
    const outside = waiting.findIndex((other) => !other.place.isGrowing)
    waiting.splice(place.isGrowing && outside >= 0 ? outside : waiting.length, 0, waiter)
    serve()
    peers.watch()
    signal?.addEventListener('abort', abort, { once: true })
    try {
      await promise
    } finally {
      clearTimeout(timer)
      signal?.removeEventListener('abort', abort)
    }
  }
  const get = async (place: Place, wanted: number, signal: AbortSignal | undefined) => {
    signal?.throwIfAborted()
    const bytes = Math.min(wanted, shareBytes - place.bytes)
    if (waiting.length === 0 && bytes <= free && hasShare(place, bytes)) {
      places.add(place)
      take(place, bytes)
    } else if (waiting.length >= options.waitingMax) throw crowded()
    else await wait(place, bytes, signal)
  }
  return {
    async enter(caller, bytes, signal) {
      const place: Place = { caller, bytes: 0, isGrowing: false }
      await get(place, bytes, signal)
      return {
        grow: (more, until) => get(place, more, until),
        awaitPeer: (cut) => peers.add(cut, () => place.isGrowing),
        [Symbol.dispose]() {
          if (!places.delete(place)) return
          take(place, -place.bytes)
          serve()
        },
      }
    },
  }
}

/** Those whose turn it is; nobody looks at them unless somebody waits. */
function createPeers({ paceMs, paceBytes }: RoomOptions, isWanted: () => boolean) {
  const peers = new Set<Watched>()
  let timer: NodeJS.Timeout | undefined
  const look = () => {
    if (!isWanted()) {
      clearInterval(timer)
      timer = undefined
      return
    }
    const now = performance.now()
    for (const peer of peers) {
      if (peer.isHeldUp()) peer.sinceMs = now
      if (now - peer.sinceMs < paceMs) continue
      const { movedBytes } = peer
      peer.sinceMs = now
      peer.movedBytes = 0
      if (movedBytes < paceBytes) peer.cut()
    }
  }
  return {
    watch() {
      timer ??= setInterval(look, paceMs / 10).unref()
    },
    add(cut: () => void, isHeldUp: () => boolean): Turn {
      const peer = { cut, isHeldUp, movedBytes: 0, sinceMs: performance.now() }
      peers.add(peer)
      return {
        moved(bytes) {
          peer.movedBytes += bytes
        },
        [Symbol.dispose]: () => void peers.delete(peer),
      }
    },
  }
}

function crowded(): ArtifactError {
  return new ArtifactError('overloaded', 'Cannot answer now: too much is under way', {
    retryAfterSeconds: 1,
  })
}
