/**
 * Trust in the log of one server: whose signature counts, and which history it has to continue.
 *
 * A head becomes part of the history last of all: parsed, signed as the policy asks, joined to every
 * head that was seen, and only then remembered.
 */
import type { Artifact, Part } from '../../schemas/artifact.ts'
import { ArtifactError } from '../../schemas/problems.ts'
import { readReceipt } from '../api.ts'
import type { Connection } from '../transfer/connection.ts'
import { type OpenedCheckpoint, openCheckpoint } from '../verify/checkpoint.ts'
import { formatNoteKey, type NoteKey } from '../verify/note-key.ts'
import { type Policy, trustLog } from '../verify/policy.ts'
import { RECEIPT_BYTES_MAX } from '../verify/proof.ts'
import { LOG_CHECKS, type LogCheck, verifyReceipt } from '../verify/verifier.ts'
import { type Anchor, createHistory, type TrustNotice } from './history.ts'
import { type KnownLogs, rememberForNow } from './known-logs.ts'
import { checkPin, type Pin } from './lock-file.ts'
import { findLogKey, present } from './log-files.ts'

export interface TrustOptions {
  /** Where keys and heads are remembered [in this process, until it ends]. */
  known?: KnownLogs | undefined
  /** Whose signatures count [those by the key that the server was first met with]. */
  policy?: Policy | undefined
  /** A key and a head that somebody has vouched for: further demands, never fewer. */
  anchor?: Anchor | undefined
  /** What artifacts have to be, by reference: any other one is refused. */
  pins?: ReadonlyMap<string, Pin> | undefined
  /** Told what a person should see. */
  onNotice?: ((notice: TrustNotice) => void) | undefined
}

/** The record that has to be in the log, with its part digests. */
export interface LoggedRecord {
  record: Artifact
  parts: readonly Part[]
}

export interface VouchOptions {
  /** Throw `log_missing` when the server has no log. */
  demand?: boolean | undefined
  /** The receipt that came with the record [it is asked for]. */
  receipt?: string | undefined
  /**
   * What came as the proof that the head of the receipt continues the one of {@link Trust.findSeen},
   * each hash in Base 64. One that does not show it is passed over, and the tiles are asked for.
   */
  consistency?: readonly string[] | undefined
  signal?: AbortSignal | undefined
}

/** What the log says for a record. */
export interface Voucher {
  /** All of {@link LOG_CHECKS}, or none when the server has no log. */
  checks: readonly LogCheck[]
  /** The receipt, as it came. */
  receipt?: string
  /** The head under which it was shown. */
  head?: OpenedCheckpoint
}

export interface Trust {
  /**
   * Checks that the log of the server says what the record says, and that it is the log that was seen
   * before. A server that was never met with a log need not have one; any other has to prove every
   * record.
   *
   * Throws `log_record`, `log_inclusion`, `log_signature`, `log_policy`, `log_missing`,
   * `log_malformed`, `log_fork`, `log_rollback`; `not_pinned` or
   * `digest_mismatch` for what the pins do not have; `local_io` or `locked` for the memory; and what the
   * server says. After a fork or a rollback it throws the same again.
   */
  vouch(claim: LoggedRecord, options?: VouchOptions): Promise<Voucher>
  /**
   * Leaves of the newest head that was seen, for a server to prove from; `undefined` before the first
   * one. Whatever `vouch()` would have to ask of the server beforehand is asked for from now on.
   */
  findSeen(signal?: AbortSignal): Promise<number | undefined>
  /** Throws `log_missing` unless the server says that it has a log, or was met with one. */
  demandLog(signal?: AbortSignal): Promise<void>
  /** The newest head that was met here. */
  readonly head: OpenedCheckpoint | undefined
}

/** Trust in the log of the server of a connection; nothing is asked yet. */
export function openTrust(connection: Connection, options: TrustOptions = {}): Trust {
  const known = options.known ?? rememberForNow()
  const history = createHistory(connection, known, options)
  const open = rememberLast()
  let basis: Promise<Basis | undefined> | undefined

  const settle = (signal: AbortSignal | undefined) => {
    basis ??= findBasis(connection, known, options, signal).catch((error: unknown) => {
      // Not remembered: the next call may fare better.
      basis = undefined
      throw error
    })
    return basis
  }

  return {
    get head() {
      return history.newest
    },
    async demandLog(signal) {
      if ((await settle(signal)) === undefined) throw noLog(connection.url)
    },
    async findSeen(signal) {
      // What fails here fails again where it is needed, and is told there.
      settle(signal).catch(() => undefined)
      return (history.newest ?? (await findHead(connection.url, known)))?.size || undefined
    },
    async vouch(claim, { demand = false, receipt, consistency, signal } = {}) {
      history.throwIfBroken()
      if (options.pins !== undefined) checkPin(options.pins, claim.record)
      const found = await settle(signal)
      if (found === undefined) {
        if (demand) throw noLog(connection.url)
        return { checks: [] }
      }
      const { task, run, name } = claim.record
      const text =
        receipt ??
        (await present(`the receipt of ${claim.record.reference}`, () =>
          readReceipt(connection, { task, run, name }, RECEIPT_BYTES_MAX, { signal }),
        ))
      const { checkpoint } = verifyReceipt(claim, text, found.policy, open)
      checkAnchorKey(checkpoint.key, options.anchor)
      await history.admit(checkpoint, { policy: found.policy, consistency, signal })
      await pin(connection.url, known, checkpoint.key, found, options)
      return { checks: LOG_CHECKS, receipt: Buffer.from(text).toString(), head: checkpoint }
    },
  }
}

/** The newest head that is remembered of a server. */
async function findHead(url: string, known: KnownLogs): Promise<OpenedCheckpoint | undefined> {
  const key = await known.findKey(url)
  return key && known.findHead(key)
}

/** Opens checkpoints; the receipts of a run come under few, so the last one is not judged again. */
function rememberLast(): typeof openCheckpoint {
  let last: { note: string; policy: Policy; opened: OpenedCheckpoint } | undefined
  return (note, policy) => {
    if (last?.note === note && last.policy === policy) return last.opened
    const opened = openCheckpoint(note, policy)
    if (typeof note === 'string') last = { note, policy, opened }
    return opened
  }
}

const defaults = new WeakMap<Connection, Trust>()

/** The trust of calls that bring none of their own: it lasts as long as the connection. */
export function trustOf(connection: Connection): Trust {
  const found = defaults.get(connection) ?? openTrust(connection)
  defaults.set(connection, found)
  return found
}

/** Whose signatures count, and why. */
interface Basis {
  policy: Policy
  pinned: NoteKey | undefined
  /** Somebody gave the keys: they may take the place of a pinned one. */
  isGiven: boolean
  /** Calls to {@link pin} end after the first one. */
  settled: Promise<void> | undefined
}

async function findBasis(
  connection: Connection,
  known: KnownLogs,
  { policy, anchor }: TrustOptions,
  signal: AbortSignal | undefined,
): Promise<Basis | undefined> {
  const pinned = await known.findKey(connection.url)
  const basis = { pinned, isGiven: false, settled: undefined }
  if (policy !== undefined) return { ...basis, policy, isGiven: true }
  if (pinned !== undefined) return { ...basis, policy: trustLog(pinned) }
  const key = anchor?.key ?? (await findLogKey(connection, signal))
  return key === undefined ? undefined : { ...basis, policy: trustLog(key) }
}

/** Binds the server to the key that has just proved itself, once for each {@link Trust}. */
async function pin(
  url: string,
  known: KnownLogs,
  key: NoteKey,
  basis: Basis,
  options: TrustOptions,
): Promise<void> {
  basis.settled ??= bind(url, known, key, basis, options)
  await basis.settled
}

async function bind(
  url: string,
  known: KnownLogs,
  key: NoteKey,
  { pinned, isGiven }: Basis,
  { onNotice }: TrustOptions,
): Promise<void> {
  if (isSameKey(pinned, key)) return
  if (await known.swapKey(url, pinned, key)) {
    const kind = { url, key }
    if (pinned === undefined) onNotice?.({ kind: 'first-contact', ...kind })
    else onNotice?.({ kind: 'key-replaced', ...kind, before: pinned })
    return
  }
  // Somebody else has met the server at this very moment.
  const now = await known.findKey(url)
  if (isGiven || isSameKey(now, key)) return
  throw new ArtifactError('log_signature', `Cannot trust the log of ${url}: it has two keys`, {
    expected: now && formatNoteKey(now),
    found: formatNoteKey(key),
  })
}

function checkAnchorKey(key: NoteKey, anchor: Anchor | undefined): void {
  if (anchor === undefined || isSameKey(anchor.key, key)) return
  throw new ArtifactError('log_signature', 'Cannot trust the log: the lock file pins another key', {
    expected: formatNoteKey(anchor.key),
    found: formatNoteKey(key),
  })
}

function isSameKey(one: NoteKey | undefined, other: NoteKey): boolean {
  return one !== undefined && formatNoteKey(one) === formatNoteKey(other)
}

function noLog(url: string): ArtifactError {
  return new ArtifactError('log_missing', `Cannot check the log of ${url}: it has none`, {
    expected: 'a server with a signer',
  })
}
