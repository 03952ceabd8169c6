/** How what travels together is cut: into few requests on a fast network, into many side by side on a far one. */

/**
 * Requests at once where an answer takes long: a connection begins slowly and loses speed with every packet that
 * is lost (RFC 5681, section 3.1), so that many of them carry more.
 */
const FAR_AT_ONCE = 12
/** Less is not worth a connection of its own: it is sent in three round trips (RFC 6928). */
const FAR_BYTES_MIN = 64 * 1024

export interface GroupPlan {
  /** Most bytes of a group. */
  weightMax: number
  /** Groups on their way at the same time. */
  atOnce: number
}

/** Groups for so many bytes in all, by what is usual on a fast network and at most of its weight. */
export function planGroups(
  totalBytes: number,
  usual: GroupPlan,
  { isFar, concurrency = FAR_AT_ONCE }: { isFar: boolean; concurrency?: number | undefined },
): GroupPlan {
  if (!isFar) return { ...usual, atOnce: Math.min(usual.atOnce, concurrency) }
  const atOnce = Math.min(FAR_AT_ONCE, concurrency)
  const share = Math.max(FAR_BYTES_MIN, Math.ceil(totalBytes / atOnce))
  return { weightMax: Math.min(usual.weightMax, share), atOnce }
}
