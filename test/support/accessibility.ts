/** What axe finds wrong with a page. */
import { readFile } from 'node:fs/promises'
import { fileURLToPath } from 'node:url'
import type { Page } from 'playwright-core'
import { z } from 'zod'

const Found = z.object({
  violations: z.array(
    z.object({ id: z.string(), help: z.string(), nodes: z.array(z.object({ html: z.string() })) }),
  ),
})

/** Violations of WCAG 2.2 at level AA and of good practice, one line each; empty when there is none. */
export async function findViolations(page: Page): Promise<string[]> {
  const path = fileURLToPath(import.meta.resolve('axe-core/axe.min.js'))
  // From outside the page: its policy lets no script in, and it stays in force.
  await page.evaluate(`${await readFile(path, 'utf8')}; undefined`)
  const { violations } = Found.parse(await page.evaluate('axe.run(document)'))
  return violations.flatMap(({ id, help, nodes }) =>
    nodes.map(({ html }) => `${id}: ${help}: ${html.slice(0, 200)}`),
  )
}

/** By how many pixels the page is wider than the window. */
export async function findOverflow(page: Page): Promise<number> {
  return Number(
    await page.evaluate(
      'document.documentElement.scrollWidth - document.documentElement.clientWidth',
    ),
  )
}
