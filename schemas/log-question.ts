/** What comes of the log with an answer about artifacts, so that a client need not ask for it apart. */
import { z } from 'zod'

/** Most hashes that a proof between two heads has: one for each level of the largest tree, and one. */
const CONSISTENCY_HASHES_MAX = 54

/** Leaves of the newest head that the client has seen: the answer brings the proof from there. */
export const Since = z
  .int()
  .min(1)
  .optional()
  .meta({ description: 'Leaves of the newest head that was seen; the answer proves from there' })

/** The proof that the log has it (C2SP tlog-proof); `null` while there is none. */
export const ReceiptText = z.string().nullable()

/**
 * That the head of the receipts continues the one of `since` (RFC 6962, section 2.1.2), each hash in
 * Base 64. Absent when nobody asked, and when the signed log is shorter than that.
 */
export const Consistency = z.array(z.string().length(44)).max(CONSISTENCY_HASHES_MAX).optional()

/** The same in an address. */
export const SinceText = z.coerce.number().pipe(Since.unwrap()).optional()
