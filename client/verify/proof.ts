/**
 * Receipts: proofs that a leaf is in the log, which anybody can check without asking anybody (C2SP
 * tlog-proof, version 1; file extension `.tlog-proof`).
 *
 *     receipt = "c2sp.org/tlog-proof@v1" LF [ "extra " base64 LF ] "index " decimal LF
 *               *(base64 LF) LF checkpoint               ; each of 32 bytes, leaf to root
 *
 * For example, for leaf 0 of a log of two leaves, with the key id and signature shortened:
 *
 *     c2sp.org/tlog-proof@v1
 *     index 0
 *     lqKW0iTyhcZ77pPDD4owkVfw2qNdxbh+QQt4YwoJz8c=
 *
 *     example.com/log
 *     2
 *     +sVCA+fMaWzw38tCySodnbr3CtnmIfS9jZhmLwDjwSU=
 *
 *     — example.com/log Uw2QOkn8…
 *
 * `extra` holds the bytes of the leaf, so that a receipt speaks for itself. They are no more than a
 * claim until the proof leads from their hash to the signed root.
 */
import { ArtifactError } from '../../schemas/problems.ts'
import { type OpenedCheckpoint, openCheckpoint } from './checkpoint.ts'
import { LEAF_BYTES_MAX } from './leaf.ts'
import { checkInclusion, HASH_BYTES, type Hash, hashLeaf, PROOF_HASHES_MAX } from './merkle.ts'
import type { Policy } from './policy.ts'
import { NOTE_BYTES_MAX } from './signed-note.ts'
import { decodeText, formatBase64, parseBase64, parseDecimal } from './strict-text.ts'

const HEADER = 'c2sp.org/tlog-proof@v1'
/** Longest receipt. */
export const RECEIPT_BYTES_MAX = NOTE_BYTES_MAX + 100_000

/** That a leaf is in a log. */
export interface Receipt {
  /** What the issuer chose to add, here the bytes of the leaf: not authenticated. */
  extra?: Uint8Array
  /** Of the leaf. */
  index: number
  /** Leaf to root. */
  proof: readonly Hash[]
  /** The signed note, as the log gave it. */
  checkpoint: string
}

/** A receipt that holds. */
export interface CheckedReceipt {
  index: number
  /** The leaf: its bytes are in the log. */
  leaf: Uint8Array
  checkpoint: OpenedCheckpoint
}

/** The text of a receipt. */
export function formatReceipt({ extra, index, proof, checkpoint }: Receipt): string {
  return [
    `${HEADER}\n`,
    extra === undefined ? '' : `extra ${formatBase64(extra)}\n`,
    `index ${index}\n`,
    ...proof.map((hash) => `${formatBase64(hash)}\n`),
    '\n',
    checkpoint,
  ].join('')
}

/** Reads a receipt without judging it; throws `log_malformed`. */
export function parseReceipt(source: string | Uint8Array): Receipt {
  const text = source.length > RECEIPT_BYTES_MAX ? undefined : decodeText(source)
  const end = text?.indexOf('\n\n') ?? -1
  if (text === undefined || end < 0) throw malformed('a proof, an empty line, a checkpoint')
  const [header, ...lines] = text.slice(0, end).split('\n')
  if (header !== HEADER) throw malformed(HEADER, header)
  const extraLine = lines[0]?.startsWith('extra ') ? lines.shift() : undefined
  const extra = extraLine === undefined ? undefined : parseBase64(extraLine.slice('extra '.length))
  if (extraLine !== undefined && (extra === undefined || extra.length > LEAF_BYTES_MAX))
    throw malformed(`Base 64 of at most ${LEAF_BYTES_MAX} bytes`, extraLine)
  const indexLine = lines.shift() ?? ''
  const index = indexLine.startsWith('index ') ? parseDecimal(indexLine.slice(6)) : undefined
  if (index === undefined) throw malformed('index and a number', indexLine)
  if (lines.length > PROOF_HASHES_MAX) throw malformed(`at most ${PROOF_HASHES_MAX} hashes`)
  const checkpoint = text.slice(end + 2)
  return {
    ...(extra === undefined ? {} : { extra }),
    index,
    proof: lines.map(parseHash),
    checkpoint,
  }
}

/**
 * Checks a receipt for a leaf: by default the one that it carries. What is read from the result is
 * in the log, as sure as the keys of the policy. Throws what {@link openCheckpoint} throws,
 * `log_inclusion` when the leaf is not at that index, and `log_missing` when there is no leaf.
 */
export function checkReceipt(
  receipt: Receipt,
  leaf: Uint8Array | undefined,
  policy: Policy,
  open: typeof openCheckpoint = openCheckpoint,
): CheckedReceipt {
  const bytes = leaf ?? receipt.extra
  if (bytes === undefined)
    throw new ArtifactError('log_missing', 'Cannot check the receipt: it carries no leaf', {
      expected: 'a line "extra" with the bytes of the leaf',
    })
  const checkpoint = open(receipt.checkpoint, policy)
  checkInclusion(receipt.index, hashLeaf(bytes), receipt.proof, checkpoint)
  return { index: receipt.index, leaf: bytes, checkpoint }
}

/** Reads one line of a proof; throws `log_malformed`. */
export function parseHash(line: string): Hash {
  const hash = parseBase64(line)
  if (hash?.length !== HASH_BYTES) throw malformed(`Base 64 of ${HASH_BYTES} bytes`, line)
  return hash
}

function malformed(expected: string, found?: string): ArtifactError {
  return new ArtifactError('log_malformed', 'Cannot read the receipt: it is none', {
    expected,
    ...(found === undefined ? {} : { found: JSON.stringify(found.slice(0, 100)) }),
  })
}
