/** Rounds: every tool once, then every tool again, so that a machine that drifts drifts for all. */
import { rm } from 'node:fs/promises'
import { dirname, join } from 'node:path'
import { measure, run, type Sample } from './measure.ts'
import type { Load, Step, Tool } from './tools.ts'

/** Ways to move a load. */
export const VERBS = ['upload', 'get'] as const
export type Verb = (typeof VERBS)[number]

/** One table: who did it, and what each run cost. */
export interface Result {
  verb: Verb
  load: Omit<Load, 'path'>
  rows: Row[]
}

export interface Row {
  title: string
  key: string
  kind: Tool['kind']
  samples: Sample[]
  /** Why it has no more samples. */
  failure?: string
}

/** Told before each run, for people who wait. */
export type Report = (text: string) => void

export interface Surroundings {
  /** Words before every command. */
  prefix?: readonly string[]
  /** Called before the first tool of a round. */
  beginRound?: () => void
}

/**
 * Measures all tools that can do it. A tool that fails
 * says so and takes no further part.
 */
export async function runRounds(
  verb: Verb,
  tools: readonly Tool[],
  load: Load,
  rounds: number,
  report: Report,
  { prefix = [], beginRound }: Surroundings = {},
): Promise<Result> {
  const target = join(dirname(load.path), 'copy')
  const taking: { row: Row; tool: Tool; step: Step }[] = []
  const rows: Row[] = []
  for (const tool of tools) {
    const { title, key, kind } = tool
    const row: Row = { title, key, kind, samples: [] }
    try {
      const step = verb === 'upload' ? tool.upload?.(load) : await tool.get?.(load, target)
      if (step === undefined) continue
      taking.push({ row, tool, step })
    } catch (error) {
      fail(row, error, report)
    }
    rows.push(row)
  }
  for (let round = 1; round <= rounds; round++) {
    beginRound?.()
    for (const { row, tool, step } of taking)
      if (row.failure === undefined)
        try {
          row.samples.push(await runOnce(tool, step, target, prefix))
          report(
            `${verb} ${load.title}, round ${round} of ${rounds}: ${row.title} ${row.samples.at(-1)?.wallSeconds.toFixed(2)} s`,
          )
        } catch (error) {
          fail(row, error, report)
        }
  }
  for (const { step } of taking) await step.end?.()
  const { path: _, ...about } = load
  return { verb, load: about, rows }
}

async function runOnce(
  tool: Tool,
  step: Step,
  target: string,
  prefix: readonly string[],
): Promise<Sample> {
  await step.prepare?.()
  // What others left to be written must not be written meanwhile.
  await run({ words: ['sync', '-f', dirname(target)] })
  try {
    const { sample, stdout } = await measure(
      { ...step.command, words: [...prefix, ...step.command.words] },
      tool.watched,
    )
    await step.check(stdout)
    return sample
  } finally {
    await step.clean?.()
    await rm(target, { recursive: true, force: true })
  }
}

function fail(row: Row, error: unknown, report: Report): void {
  row.failure = error instanceof Error ? error.message : String(error)
  report(`${row.title} failed: ${row.failure}`)
}
