/** The history of one log, as one client sees it: every head has to be joined to those before. */
import type { Connection } from '../transfer/connection.ts'
import { pause, retryDelayMs } from '../transfer/retry.ts'
import { type OpenedCheckpoint, openCheckpoint } from '../verify/checkpoint.ts'
import { relateCheckpoints } from '../verify/history.ts'
import { type Hash, isSameHash, proveConsistency, rootsOfConsistency } from '../verify/merkle.ts'
import { formatNoteKey, type NoteKey } from '../verify/note-key.ts'
import type { Policy } from '../verify/policy.ts'
import { parseBase64 } from '../verify/strict-text.ts'
import { createTileReader } from '../verify/tile-reader.ts'
import { describeEvidence, RollbackError } from './evidence.ts'
import type { KnownLogs } from './known-logs.ts'
import { fetchCheckpoint, openTiles } from './log-files.ts'

/** Times a server is asked for its newest head before it is taken to have gone back. */
const ROLLBACK_QUESTIONS = 6

/** The head of a log at the time when somebody wrote it down. */
export interface Anchor {
  key: NoteKey
  /** Signed by the key. */
  head: OpenedCheckpoint
}

export type TrustNotice =
  /** From now on only this key is trusted for the server. */
  | { kind: 'first-contact'; url: string; key: NoteKey }
  /** Another key was given, and its log has proved itself: it takes the place of the pinned one. */
  | { kind: 'key-replaced'; url: string; key: NoteKey; before: NoteKey }
  /** The log showed two histories, or went back; `path` is where the evidence is kept. */
  | { kind: 'evidence'; text: string; path: string | undefined }

export interface History {
  /**
   * Takes a head into the history: joined to the anchor, to the newest one that this client has seen,
   * and remembered when it is newer. Several at once are taken one after the other.
   *
   * A head that is older than one seen is good if it is the beginning of that, and the server can
   * still show the newer one: servers behind one address may lag, but a log that went back has lost
   * or hidden something. Throws `log_fork`, `log_rollback`, `log_missing`, `log_inclusion`.
   */
  admit(offered: OpenedCheckpoint, offer: Offer): Promise<void>
  /** Throws again what has shown the log to be dishonest. */
  throwIfBroken(): void
  readonly newest: OpenedCheckpoint | undefined
}

/** What comes with a head. */
export interface Offer {
  policy: Policy
  /** Perhaps the proof that joins it to the newest one seen, each hash in Base 64. */
  consistency?: readonly string[] | undefined
  signal?: AbortSignal | undefined
}

interface HistoryOptions {
  anchor?: Anchor | undefined
  onNotice?: ((notice: TrustNotice) => void) | undefined
}

/** The history that one client sees over one connection; nothing is asked yet. */
export function createHistory(
  connection: Connection,
  known: KnownLogs,
  { anchor, onNotice }: HistoryOptions,
): History {
  let queue: Promise<unknown> = Promise.resolve()
  let newest: OpenedCheckpoint | undefined
  let broken: unknown
  const anchored = new Set<string>()

  const admitNext = async (offered: OpenedCheckpoint, offer: Offer) => {
    throwIfBroken()
    if (newest !== undefined && isSameHead(newest, offered)) return
    const key = formatNoteKey(offered.key)
    let head = offered
    if (anchor !== undefined && formatNoteKey(anchor.key) === key && !anchored.has(key)) {
      head = await join(connection, anchor.head, head, offer)
      anchored.add(key)
    }
    head = await remember(connection, known, head, offer)
    if (newest === undefined || head.size > newest.size) newest = head
  }

  const throwIfBroken = () => {
    if (broken !== undefined) throw broken
  }

  return {
    get newest() {
      return newest
    },
    throwIfBroken,
    async admit(offered, offer) {
      const turn = queue.then(() => admitNext(offered, offer))
      queue = turn.catch(() => undefined)
      try {
        await turn
      } catch (error) {
        const text = describeEvidence(error)
        if (text !== undefined && broken === undefined) {
          broken = error
          onNotice?.({ kind: 'evidence', text, path: await known.saveEvidence(text) })
        }
        throw error
      }
    },
  }
}

/** Joins a head to the one in memory and remembers the newer one, whoever else does so meanwhile. */
async function remember(
  connection: Connection,
  known: KnownLogs,
  offered: OpenedCheckpoint,
  offer: Offer,
): Promise<OpenedCheckpoint> {
  for (;;) {
    const seen = await known.findHead(offered.key)
    const head = seen === undefined ? offered : await join(connection, seen, offered, offer)
    if (seen !== undefined && isSameHead(seen, head)) return head
    if (await known.swapHead(seen?.note, head)) return head
  }
}

/** Joins an offered head to one that was seen. Gives the newest head that is joined to both. */
async function join(
  connection: Connection,
  seen: OpenedCheckpoint,
  offered: OpenedCheckpoint,
  { policy, consistency = [], signal }: Offer,
): Promise<OpenedCheckpoint> {
  const relate = (head: OpenedCheckpoint) =>
    relateCheckpoints(
      seen,
      head,
      async (older, newer) =>
        takeProof(older, newer, consistency) ??
        proveConsistency(
          older.size,
          newer.size,
          createTileReader(newer, openTiles(connection, signal)),
        ),
    )
  if (offered.size >= seen.size) {
    await relate(offered)
    return offered
  }
  const shown = await findNewer(connection, seen, policy, signal)
  await relate(shown)
  await relate(offered)
  return shown
}

/**
 * A proof that was offered, if it joins the two heads. One that does not convicts nobody: it may be for
 * other heads, and only tiles of the newer one make evidence.
 */
function takeProof(
  older: OpenedCheckpoint,
  newer: OpenedCheckpoint,
  offered: readonly string[],
): Hash[] | undefined {
  const proof = offered.map((text) => parseBase64(text) ?? new Uint8Array())
  const roots = rootsOfConsistency(older, newer.size, proof)
  const isJoined =
    roots !== undefined &&
    isSameHash(roots.older, older.root) &&
    isSameHash(roots.newer, newer.root)
  return isJoined ? proof : undefined
}

/** The newest head of the server, which must not be older than the one seen. */
async function findNewer(
  connection: Connection,
  seen: OpenedCheckpoint,
  policy: Policy,
  signal: AbortSignal | undefined,
): Promise<OpenedCheckpoint> {
  for (let asked = 1; ; asked++) {
    const shown = openCheckpoint(await fetchCheckpoint(connection, signal), policy)
    const isSameLog = formatNoteKey(shown.key) === formatNoteKey(seen.key)
    if (isSameLog && shown.size >= seen.size) return shown
    if (asked >= ROLLBACK_QUESTIONS) throw new RollbackError(seen, shown)
    await pause(retryDelayMs(connection.timing, asked), signal)
  }
}

function isSameHead(one: OpenedCheckpoint, other: OpenedCheckpoint): boolean {
  return (
    one.size === other.size &&
    isSameHash(one.root, other.root) &&
    formatNoteKey(one.key) === formatNoteKey(other.key)
  )
}
