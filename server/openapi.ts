/** OpenAPI 3.1 from the endpoint table: nothing in it is written twice. */
import { createDocument, type ZodOpenApiObject, type ZodOpenApiOperationObject } from 'zod-openapi'
import { endpoints } from '../schemas/api.ts'
import type { Endpoint } from '../schemas/endpoint.ts'
import { Beat, Event, Reset } from '../schemas/event.ts'
import { Problem } from '../schemas/problem-document.ts'
import { PROBLEMS, type ProblemCode } from '../schemas/problems.ts'

/** What any endpoint can answer, beside its own problems. */
const ALWAYS: readonly ProblemCode[] = [
  'invalid_request',
  'body_too_large',
  'unauthenticated',
  'overloaded',
  'database_unavailable',
  'internal',
]

/** The document served at `/openapi.json`. */
export function createOpenApi(version: string): object {
  const paths: Record<string, Record<string, ZodOpenApiOperationObject>> = {}
  for (const [name, endpoint] of Object.entries<Endpoint>(endpoints)) {
    const path = endpoint.path.replace(/:([a-z]+)/g, '{$1}')
    paths[path] = { ...paths[path], [endpoint.method.toLowerCase()]: describe(name, endpoint) }
  }
  const document: ZodOpenApiObject = {
    openapi: '3.1.1',
    info: {
      title: 'Artifact integrity service',
      version,
      description:
        'Write-once artifacts. Sizes of artifacts are decimal strings, since a JSON number loses digits above 2^53. The slashes of a name are sent as %2F.',
      license: { name: 'Apache-2.0', identifier: 'Apache-2.0' },
    },
    paths,
    components: {
      schemas: { Beat, Event, Problem, Reset },
      securitySchemes: {
        token: { type: 'http', scheme: 'bearer' },
        session: {
          type: 'apiKey',
          in: 'cookie',
          name: 'artifact_session',
          description: 'Session of a browser that signed in to the inspector; it only reads',
        },
      },
    },
  }
  return createDocument(document)
}

function describe(name: string, endpoint: Endpoint): ZodOpenApiOperationObject {
  const { params, query, body } = endpoint
  return {
    operationId: name,
    summary: endpoint.summary,
    security: describeSecurity(endpoint),
    requestParams: {
      ...(params === undefined ? {} : { path: params }),
      ...(query === undefined ? {} : { query }),
    },
    ...(body === undefined
      ? {}
      : { requestBody: { required: true, content: { 'application/json': { schema: body } } } }),
    responses: { ...describeReplies(endpoint), ...describeProblems(endpoint) },
  }
}

function describeSecurity({ access, session }: Endpoint) {
  if (access === 'anyone') return []
  return session === true ? [{ token: [] }, { session: [] }] : [{ token: [] }]
}

function describeReplies(endpoint: Endpoint) {
  const json = Object.entries(endpoint.replies).map(([status, schema]) => [
    status,
    { description: endpoint.summary, content: { 'application/json': { schema } } },
  ])
  const others = Object.entries(endpoint.otherReplies ?? {}).map(
    ([status, { description, contentType }]) => [
      status,
      {
        description,
        ...(contentType === undefined
          ? {}
          : { content: { [contentType]: { schema: { type: 'string' as const } } } }),
      },
    ],
  )
  return Object.fromEntries([...json, ...others])
}

function describeProblems(endpoint: Endpoint) {
  const byStatus = new Map<number, ProblemCode[]>()
  for (const code of [...endpoint.errors, ...ALWAYS]) {
    const { status } = PROBLEMS[code]
    if (status === null) continue
    byStatus.set(status, [...new Set([...(byStatus.get(status) ?? []), code])])
  }
  return Object.fromEntries(
    Array.from(byStatus, ([status, codes]) => [
      String(status),
      {
        description: `Problem: ${codes.join(', ')}`,
        content: { 'application/problem+json': { schema: Problem } },
      },
    ]),
  )
}
