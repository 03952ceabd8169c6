/**
 * Where bytes lie. One small contract, two native implementations; `test/contract/store.ts` holds
 * every one of them to it.
 *
 * A key is chosen once per upload and never used again, so nothing is ever written over. Parts have
 * equal sizes but for the last one, and come with their SHA-256: an implementation must refuse a
 * part whose bytes differ and keep what it held before.
 */
import type { Part } from '../../schemas/artifact.ts'
import type { Grant } from '../../schemas/upload.ts'

export interface StoreLimits {
  /** Smallest size of a part that is not the last, in bytes. */
  partSizeMinBytes: number
  /** Largest size of a part, in bytes. */
  partSizeMaxBytes: number
}

/** What the store was seen to do when it was probed. What it cannot do is made up for elsewhere. */
export interface StoreCapabilities {
  /** A part or object whose bytes differ from the signed SHA-256 is refused. Without it: no start. */
  refusesWrongBytes: boolean
  /** A request with a wrong signature is refused. Without it: no start. */
  refusesWrongSignature: boolean
  /** `If-None-Match: *` on a plain PUT. Without it small objects go as multipart too. */
  conditionalPut: boolean
  /** `If-None-Match: *` when a multipart upload completes. Without it the unique key is the guard. */
  conditionalComplete: boolean
  /** `x-amz-checksum-sha256` is checked and kept. */
  keepsSha256: boolean
}

/** The session of an object that {@link Store.put} stores. */
export const WHOLE_SESSION = 'single'

/** What an upload is to the store. */
export interface BlobPlan {
  key: string
  /** `undefined` when not known beforehand. */
  sizeBytes: bigint | undefined
  partSizeBytes: number
  contentType: string
}

/** A key and the opaque words that {@link Store.begin} returned for it; survives a restart. */
export interface BlobSession extends BlobPlan {
  session: string
}

/** A part that the store holds and has checked. */
export interface HeldPart {
  number: number
  sizeBytes: number
}

export interface Blob {
  sizeBytes: bigint
  /** The store's name for this very content, quoted as an ETag (RFC 9110, section 8.8.3). */
  tag: string
}

export interface ReadOptions {
  /** First byte [0]. */
  start?: bigint
  /** One past the last byte [the end]. */
  end?: bigint
  /** So many bytes will come, as far as the caller knows: what comes does not depend on it, how may. */
  expectedBytes?: bigint
  signal?: AbortSignal
}

export interface DigestOptions {
  /** What the object has, as far as the caller knows. */
  expectedBytes: bigint
  /** Hears now and then how many bytes have been read, and is waited for. */
  onProgress(bytes: bigint): Promise<void>
  signal?: AbortSignal
}

export interface BlobDigest {
  sizeBytes: bigint
  /** Hexadecimal. */
  sha256: string
}

export interface ReadGrantOptions {
  /** Offered to a browser as the file name. */
  fileName: string
  contentType: string
  ttlSeconds: number
  /** Sign `If-Match` into it, so that it cannot fetch a replaced object; a plain redirect cannot carry the header. */
  bound: boolean
}

export interface Store extends AsyncDisposable {
  readonly kind: 'filesystem' | 's3'
  readonly limits: StoreLimits
  readonly capabilities: StoreCapabilities

  /**
   * Makes room for a new key. The text it returns is all that must be remembered. May be repeated
   * until one such text is remembered; a session that is not is left to the store to forget.
   */
  begin(plan: BlobPlan): Promise<string>

  /** A signed request that stores exactly the bytes with this size and digest as this part, for `ttlSeconds`. */
  grantPart(session: BlobSession, part: Part, ttlSeconds: number): Promise<Grant>

  /**
   * The parts held, by number. None once the session has ended, but for an object of one part that
   * was put as it is.
   */
  listParts(session: BlobSession): Promise<HeldPart[]>

  /**
   * Makes the object of all parts, under a key that no grant can write again; must be durable when
   * it returns. Repeating it after success gives the same answer. Throws `part_missing` when the
   * store does not hold a part, `size_mismatch` when one has another size or more were sent than
   * `parts` names, `part_mismatch` when the store kept another digest, and `upload_ended` when the
   * store has let the session go.
   */
  complete(session: BlobSession, parts: readonly Part[]): Promise<Blob>

  /**
   * Stores a small object whole, from the server itself, under a key that nothing was begun for;
   * must be durable when it returns. Repeating it with the same bytes gives the same answer, and so
   * does {@link complete} with the session {@link WHOLE_SESSION}. Those that come at the same moment
   * may be stored together, and what is read at the same moment may be read together.
   */
  put(plan: BlobPlan, bytes: Uint8Array): Promise<Blob>

  /**
   * Forgets the session and the object, whatever of them exists. May be repeated. What shares an
   * object with others, and could not be erased at once, {@link tidy} erases.
   */
  discard(session: BlobSession): Promise<void>

  /** Size and tag, or `undefined` when there is no such object. */
  stat(key: string): Promise<Blob | undefined>

  /**
   * The bytes from the store itself, in chunks that are good until the next one is asked for. Throws
   * `blob_missing`, or `precondition_failed` when the tag is another one.
   */
  read(key: string, tag: string, options?: ReadOptions): AsyncIterable<Uint8Array>

  /**
   * What the bytes from the store itself are, all of them read and hashed by a thread of its own;
   * `undefined` where {@link read} is as good. Throws as that does.
   */
  digest(key: string, tag: string, options: DigestOptions): Promise<BlobDigest | undefined>

  /** A signed request that reads the object, by ranges too. */
  grantRead(key: string, tag: string, options: ReadGrantOptions): Promise<Grant>

  /**
   * Whether the server shall hand over the bytes of a small blob itself, by {@link read}: it is the
   * door to them anyway, or has to fetch them before it could grant them.
   */
  handsOver(tag: string): boolean

  /**
   * Erases what removals and crashes left behind. `onFault` hears what failed, and of what; the rest
   * goes on. Any number of servers may do it at once.
   */
  tidy(onFault: (subject: string, error: unknown) => void): Promise<void>

  /** Throws `store_unavailable` when the store cannot be used now. */
  check(signal?: AbortSignal): Promise<void>
}
