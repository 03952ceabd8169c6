/**
 * One memory for what large requests and answers hold while this server is at them. It is counted, not
 * made: who finds it full waits for his turn, holding nothing, instead of adding to what is there.
 *
 * Nobody can keep the others out. One caller has no more than its share, however many requests it
 * makes. And while a peer has to send or to read, it must keep a pace as soon as somebody waits, or it
 * is cut off.
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
  /** From now until that is disposed of it is the peer's turn; `cut` ends what it is too slow for. */
  awaitPeer(cut: () => void): Turn
}

/** A peer at its turn. */
export interface Turn extends Disposable {
  /** It sent or took so many bytes. */
  moved(bytes: number): void
}

/** All but the size, which is a setting. */
export const ROOM_TERMS: Omit<RoomOptions, 'bytes'> = {
  share: 0.75,
  waitingMax: 1000,
  patienceMs: 60_000,
  paceMs: 10_000,
  paceBytes: 64 * 1024,
}

interface Waiting {
  caller: string
  bytes: number
  wake: () => void
}

interface Watched {
  cut: () => void
  movedBytes: number
  sinceMs: number
}

/** Makes an empty room. */
export function createRoom(options: RoomOptions): Room {
  const waiting: Waiting[] = []
  const peers = createPeers(options, () => waiting.length > 0)
  const shareBytes = Math.ceil(options.bytes * options.share)
  const held = new Map<string, number>()
  let free = options.bytes
  const take = (caller: string, bytes: number) => {
    const after = (held.get(caller) ?? 0) + bytes
    free -= bytes
    if (after === 0) held.delete(caller)
    else held.set(caller, after)
  }
  const hasShare = ({ caller, bytes }: Pick<Waiting, 'caller' | 'bytes'>) =>
    (held.get(caller) ?? 0) + bytes <= shareBytes
  const serve = () => {
    // Also of one caller, small ones do not starve a large one.
    const stopped = new Set<string>()
    for (const next of [...waiting]) {
      if (stopped.has(next.caller)) continue
      if (!hasShare(next)) {
        stopped.add(next.caller)
        continue
      }
      if (next.bytes > free) return
      waiting.splice(waiting.indexOf(next), 1)
      take(next.caller, next.bytes)
      next.wake()
    }
  }
  const wait = async (
    caller: string,
    bytes: number,
    signal: AbortSignal | undefined,
  ): Promise<void> => {
    const { promise, resolve, reject } = Promise.withResolvers<void>()
    const waiter = { caller, bytes, wake: resolve }
    const leave = (reason: unknown) => {
      const place = waiting.indexOf(waiter)
      // It is in already, and about to hear of it.
      if (place < 0) return
      waiting.splice(place, 1)
      reject(reason)
      serve()
    }
    const abort = () => leave(signal?.reason)
    const timer = setTimeout(() => leave(crowded()), options.patienceMs)
    waiting.push(waiter)
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
  return {
    async enter(caller, wanted, signal) {
      signal?.throwIfAborted()
      const bytes = Math.min(wanted, shareBytes)
      if (waiting.length === 0 && bytes <= free && hasShare({ caller, bytes })) take(caller, bytes)
      else if (waiting.length >= options.waitingMax) throw crowded()
      else await wait(caller, bytes, signal)
      let isOver = false
      return {
        awaitPeer: peers.add,
        [Symbol.dispose]() {
          if (isOver) return
          isOver = true
          take(caller, -bytes)
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
    add(cut: () => void): Turn {
      const peer = { cut, movedBytes: 0, sinceMs: performance.now() }
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
