/**
 * Getting one artifact: record, bytes into quarantine, checks, and only then a name.
 */
import { stat } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { basename, join } from 'node:path'
import type { Writable } from 'node:stream'
import { ArtifactError } from '../../schemas/problems.ts'
import { openQuarantine, openSpool, type Quarantine } from '../disk/quarantine.ts'
import { findFileNameFault } from '../disk/safe-path.ts'
import { trustOf } from '../trust/trust.ts'
import type { ContentDigest } from '../verify/digest.ts'
import { type Check, type LogCheck, verifyContent, verifyWhole } from '../verify/verifier.ts'
import { type Budget, createBudget } from './budget.ts'
import type { Connection } from './connection.ts'
import { type ContentAtHand, openContent } from './content.ts'
import type { GetOptions, GetReference, GetResult } from './get-options.ts'
import { createMeter } from './meter.ts'
import { writeToStream } from './output-stream.ts'
import {
  findKept,
  fitsMemory,
  NOTHING_KEPT,
  type ReceiveContext,
  readThrough,
  receiveBuffered,
} from './receive.ts'
import { receiveStream, STREAM_FROM_BYTES } from './receive-stream.ts'
import { fetchDelivery, type RecordClaim } from './record.ts'

/**
 * Gets one artifact, verified, or nothing at all. When the server has a log, the record is checked
 * against it before a byte is taken.
 *
 * Into a file: nothing is at the target before everything is verified and on the disk. Into a stream:
 * no byte before its part is verified; the digest of the whole then decides whether it throws.
 *
 * Throws `size_mismatch`, `part_mismatch`, `digest_mismatch`, `precondition_failed`, `blob_missing` or
 * `bad_reply` when bytes and record do not agree, what `vouch()` of the trust throws when record and log do
 * not, `target_exists` without `force`, `locked` when another process gets the same, `local_io`,
 * `interrupted`, and what the server says.
 */
export async function get(
  connection: Connection,
  reference: GetReference,
  options: GetOptions,
): Promise<GetResult> {
  const signal = options.signal ?? new AbortController().signal
  const { trust = trustOf(connection), verify } = options
  const since = await trust.findSeen(signal)
  const claim = await fetchDelivery(connection, reference, since, signal)
  const { receipt, consistency } = claim
  const { checks } = await trust.vouch(claim, { demand: verify, receipt, consistency, signal })
  const output =
    typeof options.output === 'string' ? await chooseTarget(options.output, claim) : options.output
  const vouched = { ...claim, checks }
  return getVouched(createBudget(options), connection, vouched, { ...options, output })
}

/** A record that the log vouches for, if there is one. */
export interface VouchedClaim extends RecordClaim {
  /** What was checked against the log. */
  checks: readonly LogCheck[]
  /** What came with it of the bytes [they are asked for]. */
  atHand?: ContentAtHand | undefined
}

/** {@link get} of a known record, to this very path, within a budget that several share. */
export async function getVouched(
  budget: Budget,
  connection: Connection,
  claim: VouchedClaim,
  options: GetOptions,
): Promise<GetResult> {
  const meter = createMeter(claim.record.reference, options.onProgress)
  const context: GetContext = {
    claim,
    content: openContent(connection, claim.record, claim.atHand),
    budget,
    meter,
    timing: connection.timing,
    isFar: () => connection.isFar(),
    signal: options.signal ?? new AbortController().signal,
  }
  if (typeof options.output !== 'string') return getIntoStream(context, options.output, options)
  return getIntoFile(context, options.output, options)
}

interface GetContext extends ReceiveContext {
  claim: VouchedClaim
}

async function getIntoFile(
  context: GetContext,
  target: string,
  options: GetOptions,
): Promise<GetResult> {
  const { claim } = context
  const force = options.force ?? false
  await using quarantine = await openQuarantine(target, claim.record.sha256, { force })
  try {
    const { digest, resumedBytes } = await fillQuarantine(context, quarantine, options)
    const checks = judge(claim, digest)
    await quarantine.publish()
    return result(context, target, checks, resumedBytes)
  } catch (error) {
    throw await leave(context, quarantine, target, options, error)
  }
}

async function fillQuarantine(
  context: ReceiveContext,
  quarantine: Quarantine,
  options: GetOptions,
): Promise<{ digest: ContentDigest; resumedBytes: bigint }> {
  const { claim, meter } = context
  const sizeBytes = BigInt(claim.record.sizeBytes)
  let kept = NOTHING_KEPT
  if ((await quarantine.sizeBytes()) > 0n) {
    meter.begin('hashing', sizeBytes)
    kept = await findKept(context, quarantine)
  }
  meter.begin('receiving', sizeBytes)
  meter.skip(kept.sizeBytes)
  const write = (bytes: Uint8Array, offset: bigint) => quarantine.write(bytes, offset)
  const digest = isStreamed(context, options)
    ? await receiveStream(context, quarantine, kept, { withParts: options.verify === true })
    : await receiveBuffered(context, write, quarantine, kept)
  return { digest, resumedBytes: kept.sizeBytes }
}

/** Whether it goes to the disk before it is verified: it is large, or its parts are. */
function isStreamed(
  { claim, budget }: ReceiveContext,
  { streamFromBytes = STREAM_FROM_BYTES }: GetOptions,
): boolean {
  return BigInt(claim.record.sizeBytes) >= BigInt(streamFromBytes) || !fitsMemory(claim, budget)
}

/** Keeps what a later call can go on with, if it was only interrupted; the error says so. */
async function leave(
  { claim, meter }: ReceiveContext,
  quarantine: Quarantine,
  target: string,
  { keepPartial = false }: GetOptions,
  error: unknown,
): Promise<unknown> {
  const isInterrupted = error instanceof ArtifactError && error.code === 'interrupted'
  const isKept = (isInterrupted || keepPartial) && meter.settledBytes > 0n
  if (isKept) quarantine.keep()
  if (!isInterrupted) return error
  const outlook = isKept ? 'the same command goes on where it stopped' : 'nothing was kept'
  return new ArtifactError(
    'interrupted',
    `Cannot finish getting ${claim.record.reference} into ${target}: interrupted; ${outlook}`,
    { cause: error.cause },
  )
}

async function getIntoStream(
  context: GetContext,
  output: Writable,
  options: GetOptions,
): Promise<GetResult> {
  const { claim, budget, meter, signal } = context
  meter.begin('receiving', BigInt(claim.record.sizeBytes))
  await using stream = writeToStream(output)
  if (!options.spool && fitsMemory(claim, budget)) {
    const digest = await receiveBuffered(context, (bytes) => stream.write(bytes, signal))
    return result(context, undefined, judge(claim, digest), 0n)
  }
  await using spool = await openSpool(options.spoolFolder ?? tmpdir())
  const digest = isStreamed(context, options)
    ? await receiveStream(context, spool, NOTHING_KEPT, { withParts: options.verify === true })
    : await receiveBuffered(context, (bytes, offset) => spool.write(bytes, offset))
  const checks = judge(claim, digest)
  await copyOut(claim, spool, (bytes) => stream.write(bytes, signal), signal)
  return result(context, undefined, checks, 0n)
}

async function copyOut(
  { parts }: RecordClaim,
  spool: Parameters<typeof readThrough>[0],
  write: (bytes: Uint8Array) => Promise<void>,
  signal: AbortSignal,
): Promise<void> {
  let offset = 0n
  for (const part of parts) {
    await readThrough(spool, offset, part.sizeBytes, write, signal)
    offset += BigInt(part.sizeBytes)
  }
}

function judge(claim: VouchedClaim, digest: ContentDigest): Check[] {
  // Nothing hashes some parts and not the others.
  const isWhole = digest.parts.length === 0 && claim.parts.length > 0
  const checks = isWhole ? verifyWhole(claim, digest) : verifyContent(claim, digest)
  return [...checks, ...claim.checks]
}

function result(
  { claim, meter }: ReceiveContext,
  path: string | undefined,
  checks: Check[],
  resumedBytes: bigint,
): GetResult {
  meter.flush()
  const receivedBytes = BigInt(claim.record.sizeBytes) - resumedBytes
  return { artifact: claim.record, path, checks, receivedBytes, resumedBytes }
}

/** A folder takes the file under the last segment of its name. */
async function chooseTarget(output: string, { record }: RecordClaim): Promise<string> {
  const found = await stat(output).catch(() => undefined)
  if (found?.isDirectory() !== true) return output
  const name = basename(record.name)
  const fault = findFileNameFault(name, process.platform)
  if (fault === undefined) return join(output, name)
  throw new ArtifactError('unsafe_path', `Cannot write ${JSON.stringify(name)}: ${fault}`)
}
