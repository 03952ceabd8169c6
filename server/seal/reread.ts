/** The server's own look at the bytes: nothing is sealed on a claim alone. */
import { createHash } from 'node:crypto'
import type { Part } from '../../schemas/artifact.ts'
import { ArtifactError } from '../../schemas/problems.ts'
import type { BlobDigest, Store } from '../stores/store.ts'

export interface Claim {
  /** Hexadecimal. */
  sha256: string
  sizeBytes: bigint
  parts: readonly Part[]
}

/** Stored bytes, to be read as often as it takes. */
export interface StoredBytes {
  read(): AsyncIterable<Uint8Array>
  /** What they are, where the store finds that out on another core; `undefined` where not. */
  digest(onProgress: RereadListener['onProgress']): Promise<BlobDigest | undefined>
}

/** The object with this tag, as the store has it. */
export function storedBytes(
  store: Pick<Store, 'read'> & Partial<Pick<Store, 'digest'>>,
  key: string,
  tag: string,
  options: { expectedBytes: bigint; signal: AbortSignal },
): StoredBytes {
  return {
    read: () => store.read(key, tag, options),
    digest: async (onProgress) => store.digest?.(key, tag, { ...options, onProgress }),
  }
}

/** Hears of a reading. */
export interface RereadListener {
  /** So many bytes have been read. A second reading begins at the start again. */
  onProgress(bytes: bigint): Promise<void>
  /** A reading differed as this says, and the next one agreed in every part and in the whole. */
  onMisread(error: ArtifactError): void
}

/**
 * Reads the stored bytes once and compares size and digest of the whole with the claim. The store has
 * checked every part as it came, so the whole says all there is to say. When it is wrong the bytes are
 * read once more, every part compared: either a part that differs is named, or what the store holds is
 * what was claimed, and it was on its way here that it changed. Throws as {@link checkBytes}.
 */
export async function checkStored(
  stored: StoredBytes,
  claim: Claim,
  { onProgress, onMisread }: RereadListener,
): Promise<void> {
  try {
    await checkWhole(stored, claim, onProgress)
  } catch (error) {
    if (!(error instanceof ArtifactError) || error.code !== 'digest_mismatch') throw error
    await checkBytes(stored.read(), claim, onProgress)
    onMisread(error)
  }
}

async function checkWhole(
  stored: StoredBytes,
  claim: Claim,
  onProgress: RereadListener['onProgress'],
): Promise<void> {
  const found = await stored.digest(async (bytes) => {
    // There may be no end to it.
    if (bytes > claim.sizeBytes) throw wrongSize(claim.sizeBytes, `more than ${claim.sizeBytes}`)
    await onProgress(bytes)
  })
  const whole = [{ number: 1, sizeBytes: Number(claim.sizeBytes), sha256: claim.sha256 }]
  if (found === undefined) return checkBytes(stored.read(), { ...claim, parts: whole }, onProgress)
  if (found.sizeBytes !== claim.sizeBytes) throw wrongSize(claim.sizeBytes, String(found.sizeBytes))
  if (found.sha256 !== claim.sha256) throw wrongDigest(claim.sha256, found.sha256)
}

/**
 * Reads the bytes once, in order, and compares size, every part digest and the whole digest with
 * the claim. Throws `size_mismatch`, `part_mismatch` or `digest_mismatch` with expected and found.
 * `onProgress` hears how many bytes have been read.
 */
export async function checkBytes(
  bytes: AsyncIterable<Uint8Array>,
  claim: Claim,
  onProgress: (bytes: bigint) => Promise<void>,
): Promise<void> {
  const whole = createHash('sha256')
  // The only part of an artifact is the whole: the claim was checked for that.
  const parts = claim.parts.length > 1 ? new PartChecker(claim.parts) : undefined
  let sizeBytes = 0n
  for await (const chunk of bytes) {
    sizeBytes += BigInt(chunk.length)
    if (sizeBytes > claim.sizeBytes)
      throw wrongSize(claim.sizeBytes, `more than ${claim.sizeBytes}`)
    whole.update(chunk)
    parts?.update(chunk)
    await onProgress(sizeBytes)
  }
  if (sizeBytes !== claim.sizeBytes) throw wrongSize(claim.sizeBytes, String(sizeBytes))
  const found = whole.digest('hex')
  if (found !== claim.sha256) throw wrongDigest(claim.sha256, found)
}

/** Cuts a stream into parts of known sizes and compares each digest when its last byte has passed. */
class PartChecker {
  readonly #parts: readonly Part[]
  #index = 0
  #seenBytes = 0
  #hash = createHash('sha256')

  constructor(parts: readonly Part[]) {
    this.#parts = parts
  }

  update(chunk: Uint8Array): void {
    let rest = chunk
    while (rest.length > 0) {
      const part = this.#parts[this.#index]
      if (part === undefined) return
      const taken = rest.subarray(0, part.sizeBytes - this.#seenBytes)
      this.#hash.update(taken)
      this.#seenBytes += taken.length
      rest = rest.subarray(taken.length)
      if (this.#seenBytes === part.sizeBytes) this.#finish(part)
    }
  }

  #finish(part: Part): void {
    const found = this.#hash.digest('hex')
    if (found !== part.sha256)
      throw new ArtifactError('part_mismatch', `Cannot seal: stored part ${part.number} differs`, {
        expected: part.sha256,
        found,
      })
    this.#index += 1
    this.#seenBytes = 0
    this.#hash = createHash('sha256')
  }
}

function wrongDigest(expected: string, found: string): ArtifactError {
  return new ArtifactError(
    'digest_mismatch',
    'Cannot seal: the stored bytes have another SHA-256',
    { expected, found },
  )
}

function wrongSize(expected: bigint, found: string): ArtifactError {
  return new ArtifactError('size_mismatch', 'Cannot seal: the stored bytes have another size', {
    expected: `${expected} bytes`,
    found: `${found} bytes`,
  })
}
