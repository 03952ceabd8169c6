import type { Artifact } from '../../schemas/artifact.ts'
import { ArtifactError } from '../../schemas/problems.ts'
import type { Upload } from '../../schemas/upload.ts'
import { call, PATIENT_TRIES } from '../api.ts'
import type { Trust } from '../trust/trust.ts'
import type { ContentDigest } from '../verify/digest.ts'
import type { Connection } from './connection.ts'
import type { Meter } from './meter.ts'
import { pause } from './retry.ts'
import type { UploadOptions } from './upload-job.ts'

/** Between two questions; the server itself waits a while before it answers. */
const QUESTION_MS = 100

/** What came of a seal. */
export interface Sealed {
  artifact: Artifact
  /** Its receipt, as it came: of a server that has a log, when it was asked for. */
  receipt: string | undefined
  /** What came with it to join its head to the newest one seen. */
  consistency: readonly string[] | undefined
}

export interface SealOptions {
  meter: Meter
  signal: AbortSignal
  trust: Pick<Trust, 'findSeen'>
  withReceipt: boolean
}

/**
 * Seals an upload, and waits while the server reads what it stores and, if `withReceipt`, until the
 * log has it. Returns the artifact, which is what was sent: else `bad_reply`. Throws what the server
 * found.
 */
export async function sealUpload(
  connection: Connection,
  upload: Pick<Upload, 'id' | 'reference'>,
  digest: ContentDigest,
  { meter, signal, trust, withReceipt }: SealOptions,
): Promise<Sealed> {
  meter.begin('verifying', digest.sizeBytes)
  const body = {
    sha256: digest.sha256,
    sizeBytes: String(digest.sizeBytes),
    parts: digest.parts,
    receipt: withReceipt,
    since: withReceipt ? await trust.findSeen(signal) : undefined,
  }
  for (;;) {
    const reply = await call(
      connection,
      'sealUpload',
      { params: { id: upload.id }, body },
      { signal, tries: PATIENT_TRIES },
    )
    if (reply.state === 'sealed') {
      meter.moveTo(digest.sizeBytes)
      meter.flush()
      const artifact = checkSealed(reply.artifact, upload.reference, digest)
      if (!withReceipt) return { artifact, receipt: undefined, consistency: undefined }
      return { artifact, receipt: reply.receipt, consistency: reply.consistency }
    }
    if (reply.state !== 'verifying')
      throw new ArtifactError(
        'bad_reply',
        `Cannot seal ${upload.reference}: it is ${reply.state}`,
        {
          expected: 'sealed or verifying',
          found: reply.state,
        },
      )
    meter.moveTo(BigInt(reply.verifiedBytes))
    await pause(QUESTION_MS, signal)
  }
}

/** Throws `bad_reply` unless the sealed record says what was sent. */
export function checkSealed(
  artifact: Artifact,
  reference: string,
  digest: Pick<ContentDigest, 'sha256' | 'sizeBytes'>,
): Artifact {
  const found = `${artifact.reference}, sha256 ${artifact.sha256}, ${artifact.sizeBytes} bytes`
  const expected = `${reference}, sha256 ${digest.sha256}, ${digest.sizeBytes} bytes`
  if (found === expected) return artifact
  throw new ArtifactError('bad_reply', `Cannot trust the seal of ${reference}: it says otherwise`, {
    expected,
    found,
  })
}

/** Throws `bad_reply` when the record has another type or other labels than were asked for. */
export function checkDeclared(
  artifact: Artifact,
  { contentType, labels = {} }: UploadOptions,
): void {
  const spell = (type: string, all: Readonly<Record<string, string>>) =>
    JSON.stringify([type, Object.entries(all).sort(([one], [other]) => (one < other ? -1 : 1))])
  const expected = spell(contentType ?? artifact.contentType, labels)
  const found = spell(artifact.contentType, artifact.labels)
  if (found === expected) return
  throw new ArtifactError(
    'bad_reply',
    `Cannot trust the seal of ${artifact.reference}: it says otherwise`,
    { expected, found },
  )
}
