/**
 * The last words of a test run: every lane with its counts, what did not run and why, and one line
 * `N passed, N failed[, N skipped]` at the very end.
 */
import type { Reporter, TestModule, TestRunEndReason, Vitest } from 'vitest/node'
import type { Lane } from './lanes.ts'

export interface LaneState {
  lane: Lane
  /** Why it is left out; `undefined` when it runs. */
  obstacle: string | undefined
}

interface Count {
  passed: number
  failed: number
  skipped: string[]
}

export interface SummaryOptions {
  lanes: readonly LaneState[]
  /** A lane that cannot run is a failure [in CI]. */
  strict: boolean
}

/** Put it last in `reporters`: its lines come after those of the others. */
export function createSummaryReporter({ lanes, strict }: SummaryOptions): Reporter {
  let vitest: Vitest | undefined
  /** Everything was asked for, rather than some files or lanes. */
  let whole = false
  return {
    onInit(started) {
      vitest = started
    },
    async onTestRunStart(selected) {
      const all = (await vitest?.globTestSpecifications()) ?? []
      whole = selected.length >= all.length && vitest?.config.project.length === 0
    },
    onTestRunEnd(modules, errors, reason) {
      const counts = new Map<string, Count>()
      for (const module of modules) addModule(counts, module)
      const lines = lanes.map((state) => formatLane(state, counts.get(state.lane.name)))
      const absent = strict && whole ? lanes.filter(isAbsent).length : 0
      if (absent > 0) process.exitCode = 1
      const total = sum(counts, errors.length, absent)
      // What a pattern of names left out was asked for.
      const hidden = vitest?.config.testNamePattern === undefined ? skipped(counts) : []
      process.stdout.write(`${['', ...lines, ...hidden, ''].join('\n')}\n`)
      process.stdout.write(`${formatTotal(total, reason, vitest)}\n`)
    },
  }
}

const isAbsent = (state: LaneState) => state.obstacle !== undefined

function addModule(counts: Map<string, Count>, module: TestModule): void {
  const count = counts.get(module.project.name) ?? { passed: 0, failed: 0, skipped: [] }
  counts.set(module.project.name, count)
  for (const test of module.children.allTests()) {
    const result = test.result()
    if (result.state === 'passed') count.passed += 1
    else if (result.state === 'failed') count.failed += 1
    else {
      const note = result.state === 'skipped' ? result.note : undefined
      count.skipped.push(`${module.relativeModuleId}: ${test.fullName}${note ? ` (${note})` : ''}`)
    }
  }
  // A file that cannot be loaded, or whose hook failed, has no failed test of its own to count.
  for (const _ of module.errors()) count.failed += 1
}

function formatLane({ lane, obstacle }: LaneState, count: Count | undefined): string {
  const name = `  ${lane.name.padEnd(12)}`
  if (obstacle !== undefined) return `${name} DID NOT RUN: ${obstacle}`
  if (count === undefined) return `${name} not selected`
  const { passed, failed, skipped } = count
  return `${name} ${formatCounts(passed, failed, skipped.length)}  (${lane.summary})`
}

function skipped(counts: Map<string, Count>): string[] {
  return [...counts.values()].flatMap((count) =>
    count.skipped.map((title) => `  skipped: ${title}`),
  )
}

function sum(counts: Map<string, Count>, errors: number, absent: number) {
  const total = { passed: 0, failed: errors + absent, skipped: 0 }
  for (const count of counts.values()) {
    total.passed += count.passed
    total.failed += count.failed
    total.skipped += count.skipped.length
  }
  return total
}

function formatTotal(
  total: { passed: number; failed: number; skipped: number },
  reason: TestRunEndReason,
  vitest: Vitest | undefined,
): string {
  // Vitest can fail a run without a failed test: no file was found, or it was interrupted.
  const silent =
    total.failed === 0 && (reason !== 'passed' || vitest?.state.getCountOfFailedTests())
  return formatCounts(total.passed, silent ? 1 : total.failed, total.skipped)
}

function formatCounts(passed: number, failed: number, skipped: number): string {
  return `${passed} passed, ${failed} failed${skipped === 0 ? '' : `, ${skipped} skipped`}`
}
