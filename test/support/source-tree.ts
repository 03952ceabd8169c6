/**
 * The source as data for the tidy test: every file with its text and syntax tree, read by the parser
 * that the test runner itself loads TypeScript with.
 */
import { globSync, readFileSync } from 'node:fs'
import { dirname, join, normalize, sep } from 'node:path'
import { parseAst } from 'vitest/node'
import { z } from 'zod'

export const ROOT = join(import.meta.dirname, '..', '..')

/** A node of the syntax tree (ESTree with TypeScript), with the fields left as they are. */
const Node = z.looseObject({ type: z.string(), start: z.number(), end: z.number() })
export type Node = z.infer<typeof Node>

export interface Import {
  /** As written. */
  specifier: string
  /** From the root of the checkout, with `/`; `undefined` when it is a package or a Node module. */
  target: string | undefined
  line: number
}

export interface Source {
  /** From the root of the checkout, with `/`. */
  path: string
  text: string
  /** Number of lines. */
  lines: number
  imports: Import[]
  /** Every node, parents before children, with its parent. */
  nodes: { node: Node; parent: Node | undefined }[]
  /** Line of an offset, from 1. */
  lineOf: (offset: number) => number
}

/** Every path under the source folders and at the root, without what tools make. */
export function listPaths(pattern: string): string[] {
  return globSync(pattern, { cwd: ROOT, exclude: ['node_modules/**', 'dist/**', '.git/**'] })
    .map((path) => path.split(sep).join('/'))
    .sort()
}

/** Every TypeScript file of the project, and the modules that browsers run. */
export function readSources(): Source[] {
  const paths = listPaths('{schemas,client,server,test}/**/*.ts')
  return [...paths, ...listPaths('server/**/*.js')].map(readSource)
}

function readSource(path: string): Source {
  const text = readFileSync(join(ROOT, path), 'utf8')
  // The parser counts in UTF-16 code units, as strings do.
  const program = Node.parse(
    parseAst(
      text.replace(/^#!.*/, (line) => ' '.repeat(line.length)),
      { lang: path.endsWith('.js') ? 'js' : 'ts' },
    ),
  )
  const nodes: Source['nodes'] = []
  collect(program, undefined, nodes)
  const breaks = [...text.matchAll(/\n/g)].map((match) => match.index)
  const lineOf = (offset: number) => breaks.filter((at) => at < offset).length + 1
  const imports = nodes.flatMap(({ node }) => findImport(path, node, lineOf))
  return { path, text, lines: breaks.length, imports, nodes, lineOf }
}

function collect(node: Node, parent: Node | undefined, nodes: Source['nodes']): void {
  nodes.push({ node, parent })
  for (const value of Object.values(node))
    for (const child of Array.isArray(value) ? value : [value]) {
      const found = asNode(child)
      if (found !== undefined) collect(found, node, nodes)
    }
}

/** The value as a node, or `undefined`. */
export function asNode(value: unknown): Node | undefined {
  if (typeof value !== 'object' || value === null || !('type' in value)) return undefined
  const parsed = Node.safeParse(value)
  return parsed.success ? parsed.data : undefined
}

function findImport(path: string, node: Node, lineOf: Source['lineOf']): Import[] {
  if (
    !/^(Import|ExportAll|ExportNamed)Declaration$|^(ImportExpression|TSImportType)$/.test(node.type)
  )
    return []
  const specifier = asNode(node.source)?.value
  if (typeof specifier !== 'string') return []
  const target = specifier.startsWith('.')
    ? normalize(join(dirname(path), specifier))
        .split(sep)
        .join('/')
    : undefined
  return [{ specifier, target, line: lineOf(node.start) }]
}

/** `object.property` as written, for a member expression or an identifier; else an empty string. */
export function formatMember(value: unknown): string {
  const node = asNode(value)
  if (node?.type === 'Identifier') return String(node.name)
  if (node?.type !== 'MemberExpression') return ''
  return `${formatMember(node.object)}.${formatMember(node.property)}`
}

/** The package of a specifier: `@scope/name` or `name`. */
export function packageOf(specifier: string): string {
  return specifier
    .split('/')
    .slice(0, specifier.startsWith('@') ? 2 : 1)
    .join('/')
}
