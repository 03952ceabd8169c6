/** What the tidy test asks of functions. */
import { asNode, formatMember, type Node, type Source } from './source-tree.ts'

/** Whether it has a body of its own. */
export const isFunction = (node: Node) =>
  /^(FunctionDeclaration|FunctionExpression|ArrowFunctionExpression)$/.test(node.type)

/** A call of a function of this project that gives a promise. */
export function isPromised(
  call: Node | undefined,
  source: Source,
  sources: readonly Source[],
): boolean {
  if (call?.type !== 'CallExpression') return false
  const declared = findFunction(formatMember(call.callee), source, sources)
  if (declared === undefined) return false
  const type = asNode(declared.node.returnType)
  const written = declared.source.text.slice(type?.start ?? 0, type?.end ?? 0)
  return declared.node.async === true || written.startsWith(': Promise')
}

/** The function of that name in the file, or where the file imports it from. */
function findFunction(
  name: string,
  source: Source,
  sources: readonly Source[],
): { node: Node; source: Source } | undefined {
  const isNamed = ({ type, id }: Node) =>
    type === 'FunctionDeclaration' && formatMember(id) === name
  const own = source.nodes.find(({ node }) => isNamed(node))
  if (own !== undefined) return { node: own.node, source }
  const imported = source.nodes.find(
    ({ node }) => node.type === 'ImportSpecifier' && formatMember(node.local) === name,
  )
  const from = asNode(imported?.parent?.source)?.value
  const target = source.imports.find(({ specifier }) => specifier === from)?.target
  const other = sources.find(({ path }) => path === target)
  const theirs = other?.nodes.find(({ node }) => isNamed(node))
  return other === undefined || theirs === undefined
    ? undefined
    : { node: theirs.node, source: other }
}

/** Functions directly inside a span. */
function innerFunctions(node: Node, source: Source): Node[] {
  const within = source.nodes
    .map(({ node: inner }) => inner)
    .filter((inner) => isFunction(inner) && inner.start > node.start && inner.end <= node.end)
  const isOutermost = ({ start, end }: Node) =>
    !within.some((other) => other.start < start && other.end >= end)
  return within.filter(isOutermost)
}

/** Nodes of a span beside those of the functions inside it. */
export function ownNodes(node: Node, source: Source): Node[] {
  const inner = innerFunctions(node, source)
  return source.nodes
    .map(({ node: one }) => one)
    .filter(({ start, end }) => start > node.start && end <= node.end)
    .filter(({ start, end }) => !inner.some((other) => other.start <= start && other.end >= end))
}

/** Lines of a function beside those of the longer functions inside it: a factory is not its methods. */
export function countOwnLines(node: Node, source: Source): number {
  const spanOf = ({ start, end }: Node) => source.lineOf(end) - source.lineOf(start) + 1
  const nested = innerFunctions(node, source).map((inner) => spanOf(inner) - 1)
  return spanOf(node) - nested.reduce((total, lines) => total + lines, 0)
}
