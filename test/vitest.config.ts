/** One project per lane; see support/lanes.ts. Lanes run one after the other, their files two at a time. */
import { existsSync } from 'node:fs'
import { join } from 'node:path'
import { defineConfig } from 'vitest/config'
import { LANES } from './support/lanes.ts'
import { createSummaryReporter } from './support/summary-reporter.ts'

const root = join(import.meta.dirname, '..')
const strict = (process.env.CI ?? '') !== ''
const lanes = await Promise.all(
  LANES.map(async (lane) => ({ lane, obstacle: await lane.findObstacle() })),
)

export default defineConfig({
  root,
  test: {
    maxWorkers: 2,
    pool: 'forks',
    reporters: ['default', createSummaryReporter({ lanes, strict })],
    projects: lanes.flatMap(({ lane, obstacle }, index) =>
      obstacle !== undefined
        ? []
        : {
            test: {
              name: lane.name,
              include: [...lane.include],
              exclude: ['node_modules/**', 'dist/**', ...(lane.exclude ?? [])],
              globalSetup: lane.globalSetup.filter((path) => existsSync(join(root, path))),
              testTimeout: 60_000,
              hookTimeout: 120_000,
              teardownTimeout: 30_000,
              sequence: { groupOrder: index },
              maxWorkers: 2,
            },
          },
    ),
  },
})
