/**
 * What is recorded of the blobs that a pack says it has: the rebuild of an index believes a pack as far
 * as a record wants what is in it.
 */
import type { PackIndex, PackPlace, PackSlice } from './pack-index.ts'

/**
 * What the records want of a blob:
 *
 *     sealed    an artifact needs it, as a blob of a pack
 *     open      an upload does that may still be sealed; its digest may not be known yet
 *     over      nobody: the bytes were removed, the upload ended without an artifact, or has an object
 *     unknown   there is neither artifact nor upload
 */
export type Standing =
  | { kind: 'sealed'; sha256: string; reference: string }
  | { kind: 'open'; sha256: string | undefined }
  | { kind: 'over' }
  | { kind: 'unknown' }

export interface KnownBlob {
  standing: Standing
  place: PackPlace | undefined
}

/** A place that a blob gets in a pack. */
export interface NewPlace extends PackSlice {
  /** The pack where it was noted before, to no avail; `undefined` when it was noted nowhere. */
  instead: string | undefined
}

export interface Adoption {
  places: readonly NewPlace[]
  /** The pack also has what nobody needs there: it is due. */
  isSpare: boolean
  /** The caller has taken the pack. */
  isTaken: boolean
}

/** The index, and the records beside it. */
export interface PackBook extends PackIndex {
  readonly census: PackCensus
}

/** Any number of servers change the same index meanwhile; every change here is one transaction. */
export interface PackCensus {
  /** Whether there is a note of the pack. */
  isNoted(pack: string): Promise<boolean>
  /** What is known of each blob, by key. */
  look(keys: readonly string[]): Promise<Map<string, KnownBlob>>
  /**
   * Notes the pack, and the places of blobs that it has. A blob that has got another place since the
   * look keeps that, and one that was removed since gets none. `false`, and nothing is changed, when
   * somebody has taken the pack or has only announced it.
   */
  adopt(pack: string, adoption: Adoption): Promise<boolean>
  /** Packs where blobs are noted, in the order of ids, those after `after`; at most `limit`. */
  listPacks(after: string | undefined, limit: number): Promise<string[]>
  /** Keys of the blobs that are noted in a pack. */
  listKeys(pack: string): Promise<string[]>
  /** Forgets where blobs are, if they are noted in this pack still. Returns how many were. */
  forgetPlaces(pack: string, keys: readonly string[]): Promise<number>
  /**
   * References of sealed artifacts whose blobs should be in a pack and are noted in none, among some
   * thousands of records after `after`; `next` is where to go on, `undefined` at the end.
   */
  listUnplaced(
    after: string | undefined,
  ): Promise<{ references: string[]; next: string | undefined }>
}
