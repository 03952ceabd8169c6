/**
 * Calls `act` for every item, for at most `limit` of them at once, and returns when all are done.
 * `act` must not throw; items that come from a generator are asked for only when there is room.
 */
export async function forEachLimited<T>(
  items: Iterable<T> | AsyncIterable<T>,
  limit: number,
  act: (item: T) => Promise<void>,
): Promise<void> {
  const crew = createCrew(limit, act)
  try {
    for await (const item of items) await crew.take(item)
  } finally {
    await crew.end()
  }
}

/** Does one thing to many items, some of them at once. */
export interface Crew<T> {
  /** Begins with an item; resolves when there is room for another one. */
  take(item: T): Promise<void>
  /** Resolves when all are done. */
  end(): Promise<void>
}

/** A crew that calls `act` for at most `limit` items at once. `act` must not throw. */
export function createCrew<T>(limit: number, act: (item: T) => Promise<void>): Crew<T> {
  const running = new Set<Promise<void>>()
  return {
    async take(item) {
      const task = act(item).finally(() => running.delete(task))
      running.add(task)
      if (running.size >= limit) await Promise.race(running)
    },
    async end() {
      await Promise.all(running)
    },
  }
}
