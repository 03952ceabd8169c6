import { Validator } from '@seriousme/openapi-schema-validator'
import { afterAll, beforeAll, describe, expect, it } from 'vitest'
import { z } from 'zod'
import { endpoints } from '../../schemas/api.ts'
import { checkReply } from '../support/reply-checker.ts'
import { startTestServer, type TestServer } from '../support/server.ts'

let server: TestServer
beforeAll(async () => {
  server = await startTestServer()
})
afterAll(() => server[Symbol.asyncDispose]())

const Document = z.looseObject({
  openapi: z.string(),
  paths: z.record(z.string(), z.record(z.string(), z.looseObject({ operationId: z.string() }))),
})

describe('/openapi.json', () => {
  it('is a valid OpenAPI 3.1 document', async () => {
    const { body } = await server.request('GET', '/openapi.json', { token: null })
    const { openapi } = Document.parse(body)
    expect(openapi).toMatch(/^3\.1\./)
    const result = await new Validator().validate(Document.parse(body))
    expect(result).toMatchObject({ valid: true })
  })

  it('describes every endpoint of the table, and nothing else', async () => {
    const { paths } = Document.parse((await server.request('GET', '/openapi.json')).body)
    const described = Object.entries(paths).flatMap(([path, operations]) =>
      Object.entries(operations).map(
        ([method, { operationId }]) =>
          `${operationId} ${method.toUpperCase()} ${path.replace(/\{([a-z]+)\}/g, ':$1')}`,
      ),
    )
    const expected = Object.entries(endpoints).map(
      ([name, { method, path }]) => `${name} ${method} ${path}`,
    )
    expect(described.sort()).toEqual(expected.sort())
  })
})

describe('checkReply()', () => {
  const json = 'application/json'

  it('refuses a status that the operation does not name', () => {
    const reply = { status: 204, contentType: json, body: null }
    expect(() => checkReply('GET', '/v1/tasks', reply)).toThrow('listTasks answers 204')
  })

  it('refuses a body that the schema does not accept', () => {
    const reply = { status: 200, contentType: json, body: { items: [{ task: 7 }], next: null } }
    expect(() => checkReply('GET', '/v1/tasks?limit=3', reply)).toThrow('/items/0/task')
  })

  it('refuses a problem that is not a problem document', () => {
    const reply = { status: 400, contentType: json, body: { error: 'no' } }
    expect(() => checkReply('GET', '/v1/tasks', reply)).toThrow('answers 400 in')
  })

  it('refuses a problem with a code outside the closed table', () => {
    const body = { type: 'x', title: 'x', status: 400, detail: 'x', code: 'odd', hint: 'x' }
    const reply = { status: 400, contentType: 'application/problem+json', body }
    expect(() => checkReply('GET', '/v1/tasks', reply)).toThrow('/code')
  })

  it('refuses an answer of an address that the document does not have', () => {
    const reply = { status: 200, contentType: json, body: {} }
    expect(() => checkReply('GET', '/v1/secrets', reply)).toThrow('no operation')
  })
})
