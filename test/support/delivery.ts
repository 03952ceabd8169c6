/** The answer to a get of one artifact, as somebody in the middle would change it. */
import { Delivery } from '../../schemas/contents.ts'
import type { TestServer } from './server.ts'
import type { TestTarget } from './upload.ts'

/** The true answer. */
export async function readDelivery(
  server: TestServer,
  { task, run, name }: TestTarget,
  { token = server.token, since }: { token?: string; since?: number } = {},
): Promise<Delivery> {
  const query = since === undefined ? '' : `?since=${since}`
  const path = `/v1/tasks/${task}/runs/${run}/delivery/${encodeURIComponent(name)}${query}`
  const { status, body } = await server.request('GET', path, { token })
  if (status !== 200) throw new Error(`Cannot read the delivery of ${name}: ${status}`)
  return Delivery.parse(body)
}

/** The true answer with another receipt, and nothing that joins its head to those before. */
export async function forgeDelivery(
  server: TestServer,
  target: TestTarget,
  receipt: string | null,
): Promise<string> {
  const { consistency: _, ...others } = await readDelivery(server, target)
  return JSON.stringify({ ...others, receipt })
}
