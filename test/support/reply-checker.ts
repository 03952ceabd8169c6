/**
 * Holds every reply of the server to `/openapi.json`: an operation may answer only with a status that
 * it names, and only with what the schema of that status accepts. Every request of every test goes
 * through it.
 */
import { Ajv2020, type AnySchemaObject, type ValidateFunction } from 'ajv/dist/2020.js'
import formats from 'ajv-formats'
import { z } from 'zod'
import { createOpenApi } from '../../server/openapi.ts'

export interface CheckedReply {
  status: number
  contentType: string
  body: unknown
}

const Media = z.record(z.string(), z.looseObject({}))
const Operation = z.object({
  operationId: z.string(),
  responses: z.record(z.string(), z.object({ content: Media.optional() })),
})
const Document = z.looseObject({
  paths: z.record(z.string(), z.record(z.string(), Operation)),
})
type Operation = z.infer<typeof Operation>

const document = createOpenApi('0.0.0-test')
const { paths } = Document.parse(document)
const ajv = new Ajv2020({ strict: false, allErrors: true })
formats.default(ajv)
ajv.addSchema(asSchema(document), 'openapi')
const validators = new Map<string, ValidateFunction>()

/** Throws when the document does not know this answer. Addresses outside `/v1` and of blobs are not its matter. */
export function checkReply(method: string, path: string, reply: CheckedReply): void {
  // As a server reads it: segments of dots go up.
  const address = new URL(`http://server${path}`).pathname
  if (!address.startsWith('/v1/') || address.startsWith('/v1/blobs/')) return
  if (reply.status >= 400) checkProblem(method, path, reply)
  // HEAD is GET without the body (RFC 9110, section 9.3.2).
  const found = findOperation(method === 'HEAD' ? 'GET' : method, address)
  if (found === undefined) {
    if (reply.status === 404 || reply.status === 405 || reply.status === 401) return
    throw new Error(`${method} ${path} is in no operation, and answers ${reply.status}`)
  }
  const { operation, pointer } = found
  const described = operation.responses[String(reply.status)]
  if (described === undefined)
    throw new Error(
      `${operation.operationId} answers ${reply.status}, which it does not name: ${JSON.stringify(reply.body)}`,
    )
  if (described.content === undefined || method === 'HEAD') return
  const type = Object.keys(described.content).find(
    (each) => essence(each) === essence(reply.contentType),
  )
  if (type === undefined)
    throw new Error(`${operation.operationId} answers in "${reply.contentType}"`)
  const place = `${pointer}/responses/${reply.status}/content/${escapePointer(type)}/schema`
  validate(place, reply.body, `${method} ${path}`)
}

function checkProblem(method: string, path: string, { contentType, body, status }: CheckedReply) {
  if (method === 'HEAD') return
  if (contentType !== 'application/problem+json')
    throw new Error(`${method} ${path} answers ${status} in "${contentType}"`)
  validate('/components/schemas/Problem', body, `${method} ${path}`)
}

function validate(pointer: string, body: unknown, what: string): void {
  const validator = validators.get(pointer) ?? ajv.compile({ $ref: `openapi#${pointer}` })
  validators.set(pointer, validator)
  if (validator(body)) return
  throw new Error(
    `${what} answers what its schema refuses: ${ajv.errorsText(validator.errors)}\n${JSON.stringify(body)}`,
  )
}

/** The operation of an address; the longer template first, since a name at the end takes slashes too. */
function findOperation(
  method: string,
  address: string,
): { operation: Operation; pointer: string } | undefined {
  const templates = Object.keys(paths).sort((one, other) => other.length - one.length)
  for (const template of templates) {
    const operation = paths[template]?.[method.toLowerCase()]
    const pattern = template.replace(/\{name\}$/, '.+').replace(/\{[a-z]+\}/g, '[^/]+')
    if (operation !== undefined && new RegExp(`^${pattern}$`, 's').test(address))
      return {
        operation,
        pointer: `/paths/${escapePointer(template)}/${method.toLowerCase()}`,
      }
  }
  return undefined
}

/** RFC 6901, and percent-encoded for a URI fragment (section 6). */
function escapePointer(token: string): string {
  return encodeURIComponent(token.replaceAll('~', '~0').replaceAll('/', '~1'))
}

const essence = (type: string) => type.split(';')[0]?.trim().toLowerCase()

function asSchema(value: object): AnySchemaObject {
  return { ...value }
}
