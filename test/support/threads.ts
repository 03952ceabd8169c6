import type { Worker } from 'node:worker_threads'

export interface ThreadWatch extends Disposable {
  /** Every thread that was started since, in order. */
  readonly started: Worker[]
  /** How many of them have not ended. */
  countRunning(): number
  /** What is done to each as it starts. */
  onStart: (thread: Worker) => void
}

/** Watches the threads that this process starts. */
export function watchThreads(): ThreadWatch {
  const started: Worker[] = []
  const note = (thread: Worker): void => {
    started.push(thread)
    watch.onStart(thread)
  }
  const watch: ThreadWatch = {
    started,
    // Node gives the id back when a thread has ended.
    countRunning: () => started.filter(({ threadId }) => threadId !== -1).length,
    onStart: () => undefined,
    [Symbol.dispose]() {
      process.off('worker', note)
    },
  }
  process.on('worker', note)
  return watch
}
