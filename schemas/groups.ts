/** What a group may hold. */
export interface GroupLimits {
  /** Together, in whatever unit the items are weighed in. */
  weightMax: number
  /** Items [any number]. */
  countMax?: number | undefined
}

/**
 * Cuts items into groups that keep to the limits, in order and none empty: what travels together in one
 * request, or lies together in one object. An item that is too heavy by itself is a group of its own.
 */
export function* cutIntoGroups<T>(
  items: Iterable<T>,
  weigh: (item: T) => number,
  { weightMax, countMax = Number.POSITIVE_INFINITY }: GroupLimits,
): Generator<T[]> {
  let group: T[] = []
  let weight = 0
  for (const item of items) {
    const more = weigh(item)
    if (group.length === countMax || (group.length > 0 && weight + more > weightMax)) {
      yield group
      group = []
      weight = 0
    }
    group.push(item)
    weight += more
  }
  if (group.length > 0) yield group
}
