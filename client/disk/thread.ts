import type { Worker } from 'node:worker_threads'

/**
 * Starts the thread whose module has this name, without its extension, beside the module at `url`; it gets
 * no environment, no arguments of the program, and a heap for one buffer and a few numbers.
 */
export function spawnThread(url: string, name: string, workerData?: unknown): Worker {
  // The sources are run as they are, and published as JavaScript.
  const extension = url.slice(url.lastIndexOf('.'))
  // Not imported: small files need no thread, nor the module for it.
  const { Worker } = process.getBuiltinModule('node:worker_threads')
  return new Worker(new URL(`./${name}${extension}`, url), {
    workerData,
    execArgv: [],
    env: {},
    resourceLimits: { maxOldGenerationSizeMb: 64, maxYoungGenerationSizeMb: 4 },
  })
}
