/**
 * One memory for what large requests and answers hold while this server is at them. It is counted, not
 * made: who finds it full waits for his turn, holding nothing, instead of adding to what is there.
 *
 * Who is in it cannot keep the others out for ever. While its peer has to send or to read, the peer
 * must keep a pace as soon as somebody waits, or it is cut off.
 */
import { ArtifactError } from '../schemas/problems.ts'

export interface RoomOptions {
  /** Held at once by all. */
  bytes: number
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
   * Waits until so many bytes are free, in the order of asking; more than there are in all count as
   * all. Throws `overloaded` when too many wait, or it takes too long, and the reason of the signal.
   */
  enter(bytes: number, signal?: AbortSignal): Promise<Stay>
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
  waitingMax: 1000,
  patienceMs: 60_000,
  paceMs: 10_000,
  paceBytes: 64 * 1024,
}

interface Waiting {
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
  let free = options.bytes
  const serve = () => {
    for (let next = waiting[0]; next !== undefined && next.bytes <= free; next = waiting[0]) {
      waiting.shift()
      free -= next.bytes
      next.wake()
    }
  }
  const wait = async (bytes: number, signal: AbortSignal | undefined): Promise<void> => {
    const { promise, resolve, reject } = Promise.withResolvers<void>()
    const waiter = { bytes, wake: resolve }
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
    async enter(wanted, signal) {
      signal?.throwIfAborted()
      const bytes = Math.min(wanted, options.bytes)
      if (waiting.length === 0 && bytes <= free) free -= bytes
      else if (waiting.length >= options.waitingMax) throw crowded()
      else await wait(bytes, signal)
      let isOver = false
      return {
        awaitPeer: peers.add,
        [Symbol.dispose]() {
          if (isOver) return
          isOver = true
          free += bytes
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
