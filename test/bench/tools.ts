/** What takes part: a program, how it is found, and how it moves one file or folder. */
import { execFileSync } from 'node:child_process'
import { accessSync, constants } from 'node:fs'
import { basename, delimiter, dirname, join } from 'node:path'
import type { Command, Watched } from './measure.ts'

/** What is moved: a file or a folder of files, with its copy's place. */
export interface Load {
  kind: 'file' | 'folder'
  /** As people say it: `1 GiB`. */
  title: string
  /** Safe in names and keys. */
  slug: string
  path: string
  /** Of all files together. */
  bytes: number
  files: number
}

/** One measured command and what belongs to it unmeasured. */
export interface Step {
  /** Before the command. */
  prepare?: () => Promise<void>
  command: Command
  /** Rejects unless the bytes that arrived are the load's; gets what the command printed. */
  check: (stdout: string) => Promise<void>
  /** After each check: nothing of this run stays. */
  clean?: () => Promise<void>
  /** After all rounds: nothing at all stays. */
  end?: () => Promise<void>
}

export interface Tool {
  /** In the table. */
  title: string
  /** For `--tools`. */
  key: string
  /** A floor moves or hashes the bytes and checks nothing. */
  kind: 'ours' | 'peer' | 'floor'
  version: string
  /** Processes beside it that work for it. */
  watched: Watched
  /** `undefined` when it cannot do this. */
  upload?: (load: Load) => Step | undefined
  /** Lays down what is to be got, unmeasured, and tells how; `undefined` when it cannot do this. */
  get?: (load: Load, target: string) => Promise<Step | undefined>
}

/** A program's path; `undefined` when there is none. A version manager's shim is not the program. */
export function findProgram(name: string): string | undefined {
  const path = (process.env.PATH ?? '')
    .split(delimiter)
    .map((folder) => join(folder, name))
    .find(isExecutable)
  if (path === undefined || basename(dirname(path)) !== 'shims') return path
  return ask(['pyenv', 'which', name])
}

/** The first line that a program prints; `undefined` when it fails. */
export function ask([program = '', ...words]: readonly string[]): string | undefined {
  try {
    const text = execFileSync(program, words, {
      encoding: 'utf8',
      stdio: ['ignore', 'pipe', 'ignore'],
    })
    return text.trim().split('\n')[0]
  } catch {
    return undefined
  }
}

function isExecutable(path: string): boolean {
  try {
    accessSync(path, constants.X_OK)
    return true
  } catch {
    return false
  }
}
