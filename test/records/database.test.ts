import type { PeerCertificate } from 'node:tls'
import { afterAll, beforeAll, describe, expect, test } from 'vitest'
import { checkDatabase, openDatabase, toDatabaseProblem } from '../../server/records/database.ts'
import { parseDatabaseUrl } from '../../server/records/database-url.ts'
import { createTestDatabase } from '../support/database.ts'
import { type TestDatabase, withDatabase } from '../support/postgres-cluster.ts'

let database: TestDatabase
beforeAll(async () => {
  database = await createTestDatabase()
})
afterAll(() => database[Symbol.asyncDispose]())

const NOBODY = { CN: '', C: '', ST: '', L: '', O: '', OU: '' }
const EMPTY_CERTIFICATE: PeerCertificate = {
  ...{ ca: false, raw: Buffer.alloc(0), subject: NOBODY, issuer: NOBODY, serialNumber: '' },
  ...{ valid_from: '', valid_to: '', fingerprint: '', fingerprint256: '', fingerprint512: '' },
}

const PAST_DOUBLE = [2n ** 53n + 1n, 2n ** 62n + 3n, 2n ** 63n - 1n]

describe('openDatabase()', () => {
  test.each(PAST_DOUBLE)('keeps every digit of %s', async (size) => {
    const [row] = await database.server<[{ size: bigint; sizes: bigint[]; text: string }]>`
      select ${size}::bigint as size, array[${size}::bigint, 1] as sizes, ${size}::bigint::text as text`
    expect(row).toEqual({ size, sizes: [size, 1n], text: size.toString() })
  })

  test('finds nothing but the catalog by an unqualified name', async () => {
    const [row] = await database.server`show search_path`
    expect(row).toEqual({ search_path: 'pg_catalog' })
    await expect(database.server`select from artifact`).rejects.toMatchObject({ code: '42P01' })
  })

  test('gives bytes back as they are', async () => {
    const bytes = Buffer.from(Array.from({ length: 256 }, (_, index) => index))
    const [row] = await database.server`select ${bytes}::bytea as bytes`
    expect(row?.bytes).toEqual(bytes)
  })

  test('reports a server that does not answer', async () => {
    await expect(openDatabase({ url: 'postgres://a:secret@127.0.0.1:1/b' })).rejects.toMatchObject({
      code: 'database_unavailable',
      message: 'Cannot use the database: ECONNREFUSED',
    })
  })

  test('reports a wrong password as a matter of configuration, without showing it', async () => {
    const url = withDatabase(database.adminUrl, 'postgres', 'artifact_server', 'not-the-secret')
    await expect(openDatabase({ url })).rejects.toMatchObject({
      code: 'configuration',
      message: expect.stringMatching(/password authentication failed/),
    })
    await expect(openDatabase({ url })).rejects.not.toThrow(/not-the-secret/)
  })

  test('reports a database that is not there as a matter of configuration', async () => {
    const url = withDatabase(database.adminUrl, 'nowhere')
    await expect(openDatabase({ url })).rejects.toMatchObject({ code: 'configuration' })
  })
})

describe('toDatabaseProblem()', () => {
  test('calls a connection that the operator ended passing, and connects again', async () => {
    await using other = await openDatabase({ url: database.serverUrl, connectionsMax: 1 })
    const [{ pid } = { pid: 0 }] = await other.sql<
      { pid: number }[]
    >`select pg_backend_pid() as pid`
    const sleeping = other.sql`select pg_sleep(60)`.then(
      () => undefined,
      (error: unknown) => toDatabaseProblem(error),
    )
    await database.admin`select pg_terminate_backend(${pid})`
    expect(await sleeping).toMatchObject({ code: 'database_unavailable' })
    await expect.poll(() => checkDatabase(other.sql).then(() => 'back')).toBe('back')
  })

  test('leaves a broken statement alone', async () => {
    const error = await database.server`select 1 / 0`.catch((reason: unknown) => reason)
    expect(toDatabaseProblem(error)).toBe(error)
  })
})

describe('parseDatabaseUrl()', () => {
  test.each([
    ['postgres://u:p@h/d', 'postgres://u:p@h/d', 'prefer'],
    ['postgresql://u:p@h:1,i:2/d', 'postgresql://u:p@h:1,i:2/d', 'prefer'],
    ['postgres://u:p@h/d?sslmode=disable', 'postgres://u:p@h/d', false],
    ['postgres://u:p@h/d?sslmode=require', 'postgres://u:p@h/d', 'require'],
    [
      'postgres://u:p@h/d?sslmode=verify-full&connect_timeout=3',
      'postgres://u:p@h/d?connect_timeout=3',
      {},
    ],
    ['postgres://u:p@h/d?sslrootcert=system', 'postgres://u:p@h/d', {}],
  ])('reads %s', async (url, address, tls) => {
    expect(await parseDatabaseUrl(url)).toEqual({ address, tls })
  })

  test('asks for the certificate, not for the name, with verify-ca', async () => {
    const { tls } = await parseDatabaseUrl('postgres://u:p@h/d?sslmode=verify-ca')
    expect(tls).toEqual({ checkServerIdentity: expect.any(Function) })
  })

  test('compares a numeric address with the certificate, with verify-full', async () => {
    const { tls } = await parseDatabaseUrl('postgres://u:p@10.0.0.1:5432/d?sslmode=verify-full')
    const check = typeof tls === 'object' ? tls.checkServerIdentity : undefined
    const certificate = (name: string) => ({ ...EMPTY_CERTIFICATE, subjectaltname: name })
    // What postgres.js leaves Node to compare with.
    expect(check?.('localhost', certificate('IP Address:10.0.0.1'))).toBeUndefined()
    expect(check?.('localhost', certificate('DNS:localhost'))).toMatchObject({
      code: 'ERR_TLS_CERT_ALTNAME_INVALID',
    })
  })

  test.each([
    'mysql://u:hidden@h/d',
    'postgres://u:hidden@[::1]/d',
    'postgres://u:hidden@10.0.0.1,10.0.0.2/d?sslmode=verify-full',
    'postgres://',
    'postgres://u:hidden@h:port/d',
    'postgres://u:hidden@h/d?search_path=public',
    'postgres://u:hidden@h/d?sslmode=sometimes',
    'postgres://u:hidden@h/d?sslmode=verify-full&sslrootcert=/nowhere/ca.pem',
  ])('refuses %s without repeating the password', async (url) => {
    const problem = parseDatabaseUrl(url)
    await expect(problem).rejects.toMatchObject({ code: 'configuration' })
    await expect(problem).rejects.not.toThrow(/hidden/)
  })
})
