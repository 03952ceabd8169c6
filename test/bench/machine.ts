/** On what it was measured. */
import { cpus, release, totalmem } from 'node:os'
import { ask } from './tools.ts'

export interface Machine {
  processor: string
  cores: number
  memoryGib: number
  kernel: string
  node: string
  /** Of the files that are moved. */
  fileSystem: string
  date: string
}

/** Describes this machine, and the file system of a folder. */
export function describeMachine(folder: string): Machine {
  const [first] = cpus()
  return {
    processor: first?.model.trim() ?? 'unknown',
    cores: cpus().length,
    memoryGib: Math.round(totalmem() / 1024 ** 3),
    kernel: release(),
    node: process.versions.node,
    fileSystem: ask(['stat', '-f', '-c', '%T', folder]) ?? 'unknown',
    date: new Date().toISOString().slice(0, 16).replace('T', ' '),
  }
}
