/** What the server counts, for Prometheus. No names of tasks or artifacts: only kinds and counts. */
import { Counter, collectDefaultMetrics, Gauge, Histogram, Registry } from 'prom-client'
import type { VerificationOutcome } from '../schemas/verification.ts'

export interface Metrics {
  /** One answered request. */
  observeRequest(endpoint: string, method: string, status: number, seconds: number): void
  /** One seal that came to an end. */
  countSeal(outcome: 'sealed' | 'failed', sizeBytes: bigint): void
  /** A seal that stopped for a passing reason. */
  countSetback(): void
  /** Stored bytes differed, and agreed when they were read once more. */
  countMisread(): void
  /** Stored bytes were read again, with this outcome. */
  countVerification(outcome: VerificationOutcome, bytes: bigint): void
  collect(): Promise<{ contentType: string; text: string }>
}

/** `countActive` tells how many uploads are open or verifying; it is asked at every scrape. */
export function createMetrics(countActive: () => Promise<number>): Metrics {
  const registry = new Registry()
  collectDefaultMetrics({ register: registry })
  const registers = [registry]
  const requests = new Histogram({
    name: 'artifact_http_request_duration_seconds',
    help: 'Time to answer, by endpoint',
    labelNames: ['endpoint', 'method', 'status'],
    buckets: [0.002, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 10, 60],
    registers,
  })
  const seals = new Counter({
    name: 'artifact_seals_total',
    help: 'Seals that came to an end, by outcome',
    labelNames: ['outcome'],
    registers,
  })
  const sealedBytes = new Counter({
    name: 'artifact_sealed_bytes_total',
    help: 'Bytes of sealed artifacts',
    registers,
  })
  const setbacks = new Counter({
    name: 'artifact_seal_setbacks_total',
    help: 'Seals that stopped for a passing reason and will be taken up again',
    registers,
  })
  const misreads = new Counter({
    name: 'artifact_misreads_total',
    help: 'Times that stored bytes differed, and agreed when read once more: look at the network and memory',
    registers,
  })
  const verifications = new Counter({
    name: 'artifact_verifications_total',
    help: 'Times that stored bytes were read again, by outcome; anything but agreed needs a person',
    labelNames: ['outcome'],
    registers,
  })
  const verifiedBytes = new Counter({
    name: 'artifact_verified_bytes_total',
    help: 'Stored bytes that were read again',
    registers,
  })
  new Gauge({
    name: 'artifact_active_uploads',
    help: 'Uploads that are open or verifying, of all servers',
    registers,
    async collect() {
      this.set(await countActive())
    },
  })
  return {
    observeRequest: (endpoint, method, status, seconds) =>
      requests.observe({ endpoint, method, status: String(status) }, seconds),
    countSeal(outcome, sizeBytes) {
      seals.inc({ outcome })
      if (outcome === 'sealed') sealedBytes.inc(Number(sizeBytes))
    },
    countSetback: () => setbacks.inc(),
    countMisread: () => misreads.inc(),
    countVerification(outcome, bytes) {
      verifications.inc({ outcome })
      verifiedBytes.inc(Number(bytes))
    },
    collect: async () => ({ contentType: registry.contentType, text: await registry.metrics() }),
  }
}
