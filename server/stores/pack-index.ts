/**
 * Where small blobs lie in a store that keeps many of them in one object. These are notes of places
 * and prove nothing: what the bytes are is for the digests of the record to say.
 *
 *     announce -> the object is put -> place -> … -> forget, or move into another pack -> drop
 *
 * A pack is noted before its object can exist, and until its object is gone, so none is ever lost
 * sight of; a blob is placed only once the store has acknowledged the pack, and keeps its place.
 */

/** Bytes in a pack, as they were put there. */
export interface PackSlice {
  key: string
  /** Hexadecimal. */
  sha256: string
  /** Of the blob within the object. */
  firstByte: number
  sizeBytes: number
}

/** Where a blob is. */
export interface PackPlace extends PackSlice {
  /** A UUID. */
  pack: string
  /** Tag of the object that the blob has besides, under its own key. */
  ownTag: string | undefined
}

/** Any number of servers share one index; every change of it is one statement or transaction. */
export interface PackIndex {
  /** Notes a pack that is about to be put. One that is not placed within a quarter of an hour is due. */
  announce(pack: string): Promise<void>
  /**
   * Notes the blobs of a pack that was announced here, and that the store has acknowledged. One that has
   * a place already keeps it, and the pack is due then. Throws `store_unavailable` when the pack was given up meanwhile.
   */
  place(pack: string, slices: readonly PackSlice[]): Promise<void>
  /** The places of those that have one, in any order. */
  find(keys: readonly string[]): Promise<PackPlace[]>
  /** Notes that the blob has an object of its own; `false` when the blob was forgotten meanwhile. */
  keepOwn(key: string, tag: string): Promise<boolean>
  /** Forgets a blob. Returns the pack where it lay, which is due now unless somebody has taken it. */
  forget(key: string): Promise<string | undefined>
  /** Packs that are due, those that wait longest first. */
  findDue(limit: number): Promise<string[]>
  /** Takes a due pack for a minute, and returns what of it is needed; `undefined` when it is not due. */
  take(pack: string): Promise<PackSlice[] | undefined>
  /**
   * Moves blobs to where another pack has them, which was announced here; the one is due now, the other
   * if a blob was forgotten meanwhile. Throws `store_unavailable` when the other one was given up.
   */
  move(from: string, to: string, slices: readonly PackSlice[]): Promise<void>
  /** Forgets a pack whose object is gone, unless a blob is there. */
  drop(pack: string): Promise<void>
}

const TAG = /^"sha256-([0-9a-f]{64})"$/

/**
 * The tag of a blob in a pack, for example `"sha256-2cf2…9824"`: it names the content, so it stays
 * the same wherever the blob lies. No S3 store has ETags of this shape.
 */
export function formatPackedTag(sha256: string): string {
  return `"sha256-${sha256}"`
}

/** Whether a tag is one of {@link formatPackedTag}. */
export function isPackedTag(tag: string): boolean {
  return TAG.test(tag)
}

const PACK_KEY =
  /^packs\/([0-9a-f]{2})\/(\1[0-9a-f]{6}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{12})\.pack$/

/** Where the keys of all packs begin. */
export const PACKS = 'packs/'

/** The inverse of {@link formatPackKey}; `undefined` for the key of anything else. */
export function parsePackKey(key: string): string | undefined {
  return PACK_KEY.exec(key)?.[2]
}

/** The key of a pack's object, for example `packs/0a/0a1b….pack`. No blob has such a key. */
export function formatPackKey(pack: string): string {
  return `packs/${pack.slice(0, 2)}/${pack}.pack`
}
