/** Calls that come at the same moment and are answered together. */

/** One call that waits for its answer. */
export interface Asked<Q, A> {
  question: Q
  resolve(answer: A | PromiseLike<A>): void
  reject(error: unknown): void
}

/**
 * Makes a function whose calls of one turn of the event loop go to `answer` together, which settles
 * each of them; those that it leaves alone when it throws get that error.
 */
export function createGatherer<Q, A>(
  answer: (asked: readonly Asked<Q, A>[]) => Promise<void>,
): (question: Q) => Promise<A> {
  let waiting: Asked<Q, A>[] = []
  const drain = () => {
    const group = waiting
    waiting = []
    answer(group).catch((error: unknown) => {
      for (const one of group) one.reject(error)
    })
  }
  return (question) =>
    new Promise((resolve, reject) => {
      if (waiting.push({ question, resolve, reject }) === 1) setImmediate(drain)
    })
}
