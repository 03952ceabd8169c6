/** The plans of the statements that a function of ours runs, without touching the function. */
import { z } from 'zod'
import type { Sql } from '../../server/records/database.ts'

export interface PlanNode {
  type: string
  index: string | undefined
  /** Rows that it passed on, and rows that it read and dropped. */
  rows: number
  dropped: number
  /** Pages of 8 KiB that it and the nodes below it touched. */
  buffers: number
  below: PlanNode[]
}

const Node = z.object({
  'Node Type': z.string(),
  'Index Name': z.string().optional(),
  'Actual Rows': z.number(),
  'Rows Removed by Filter': z.number().default(0),
  'Shared Hit Blocks': z.number(),
  'Shared Read Blocks': z.number(),
  get Plans() {
    return z.array(Node).optional()
  },
})

/**
 * A connection that explains every `select` before it runs it. `plans` fills up in order; `texts` has
 * the same plans as people read them.
 */
export function explaining(sql: Sql): { sql: Sql; plans: PlanNode[]; texts: string[] } {
  const plans: PlanNode[] = []
  const texts: string[] = []
  const explain = async (args: unknown[]) => {
    // A fragment within a statement, built anew each time.
    const statement = () => Reflect.apply(sql, undefined, args)
    const [row] = await sql<{ 'QUERY PLAN': unknown }[]>`
      explain (analyze, buffers, costs off, timing off, summary off, format json) ${statement()}`
    const [parsed] = z.array(z.object({ Plan: Node })).parse(row?.['QUERY PLAN'])
    if (parsed !== undefined) plans.push(formatNode(parsed.Plan))
    const lines = await sql<{ 'QUERY PLAN': string }[]>`
      explain (analyze, buffers, costs off, timing off, summary off) ${statement()}`
    texts.push(lines.map((line) => line['QUERY PLAN']).join('\n'))
    return statement()
  }
  return {
    plans,
    texts,
    sql: new Proxy(sql, {
      apply: (target, self, args: unknown[]) =>
        isSelect(args[0]) ? explain(args) : Reflect.apply(target, self, args),
    }),
  }
}

/** The nodes of a plan from the top down. */
export function flatten(plan: PlanNode): PlanNode[] {
  return [plan, ...plan.below.flatMap(flatten)]
}

function isSelect(template: unknown): boolean {
  const [first]: unknown[] = Array.isArray(template) ? template : []
  return typeof first === 'string' && /^\s*select\b/i.test(first)
}

function formatNode(node: z.infer<typeof Node>): PlanNode {
  return {
    type: node['Node Type'],
    index: node['Index Name'],
    rows: node['Actual Rows'],
    dropped: node['Rows Removed by Filter'],
    buffers: node['Shared Hit Blocks'] + node['Shared Read Blocks'],
    below: (node.Plans ?? []).map(formatNode),
  }
}
