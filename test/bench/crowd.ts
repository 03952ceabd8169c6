/** Memory of one server while several clients are at it at the same moment, each a process of its own. */
import { mkdir, rm } from 'node:fs/promises'
import { join } from 'node:path'
import { makeFile, makeFolder } from './loads.ts'
import { measure } from './measure.ts'
import type { Ours } from './ours.ts'
import { readPeakBytes, resetPeak } from './process-tree.ts'

/** What every client of a crowd moves. */
export interface CrowdLoad {
  files: number
  each: number
}

/** How far memory went, in bytes. */
export interface CrowdPeak {
  /** What they did, for people. */
  what: string
  /** Of the largest client. */
  client: number
  server: number
}

/**
 * Lets so many clients upload the same load, each to a run of its own, then get it back, all at the
 * same time. Answers with the peaks of both; rejects when one of them fails.
 */
export async function measureCrowd(
  { command, clear, pid }: Ours,
  folder: string,
  clients: number,
  { files, each }: CrowdLoad,
): Promise<CrowdPeak[]> {
  const load = files === 1 ? await makeFile(folder, each) : await makeFolder(folder, files, each)
  const copies = join(folder, 'copies')
  await mkdir(copies)
  const together = async (verb: string, words: (task: string) => string[]): Promise<CrowdPeak> => {
    resetPeak(pid)
    const tasks = Array.from({ length: clients }, (_, index) => `crowd-${index}`)
    const outcomes = await Promise.all(tasks.map((task) => measure(command(...words(task)))))
    return {
      what: `${clients} clients ${verb} ${load.title} each`,
      client: Math.max(...outcomes.map(({ sample }) => sample.peakBytes)),
      server: readPeakBytes(pid),
    }
  }
  try {
    const up = await together('upload', (task) => ['upload', '--quiet', load.path, task])
    const down = await together('get', (task) => [
      ...['get', '--quiet', '-o', join(copies, task)],
      load.kind === 'file' ? `${task}/latest/${load.slug}` : `${task}/latest`,
    ])
    return [up, down]
  } finally {
    await rm(load.path, { recursive: true })
    await rm(copies, { recursive: true })
    await clear()
  }
}
