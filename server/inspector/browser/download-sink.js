/**
 * Where a download goes before it is verified, and how it becomes a file once it is.
 *
 * @typedef {object} Sink
 * @property {(bytes: Uint8Array<ArrayBuffer>) => Promise<void>} write
 * @property {() => Promise<string>} keep Makes it a file; returns in words what became of it.
 * @property {() => Promise<void>} discard Removes whatever was written.
 *
 * @typedef {FileSystemFileHandle & { remove?: () => Promise<void> }} RemovableHandle
 */

/** Most that is held in memory, where the browser can do no better. */
const MEMORY_BYTES_MAX = 256 * 1024 * 1024
/** What is left in the private folder by a page that was closed is removed after this. */
const STALE_MS = 24 * 3600 * 1000
const STALE_PREFIX = 'artifact-download-'

/** @returns {((options: object) => Promise<RemovableHandle>) | undefined} */
function findPicker() {
  const picker = Reflect.get(globalThis, 'showSaveFilePicker')
  return typeof picker === 'function' ? picker.bind(globalThis) : undefined
}

/**
 * Why this browser cannot take a file of this size, or `undefined` when it can.
 *
 * @param {number} sizeBytes
 * @returns {Promise<string | undefined>}
 */
export async function findSinkObstacle(sizeBytes) {
  if (findPicker() !== undefined || sizeBytes <= MEMORY_BYTES_MAX) return undefined
  if (!hasPrivateFolder())
    return 'This browser cannot write a file of this size while it is checked.'
  const { quota = 0, usage = 0 } = await navigator.storage.estimate()
  // Twice: once while it is checked, once where it is saved.
  return quota - usage > sizeBytes * 2
    ? undefined
    : 'This browser does not have room enough for a file of this size while it is checked.'
}

/**
 * Opens the best place that there is. Must be called from a click: a picker may be shown. Throws an
 * `AbortError` when nobody picks.
 *
 * @param {string} fileName
 * @param {string} contentType
 * @param {number} sizeBytes
 * @returns {Promise<Sink>}
 */
export async function openSink(fileName, contentType, sizeBytes) {
  const pick = findPicker()
  if (pick !== undefined) return openFileSink(await pick({ suggestedName: fileName }))
  if (hasPrivateFolder() && sizeBytes > MEMORY_BYTES_MAX / 8) return openPrivateSink(fileName)
  return openMemorySink(fileName, contentType)
}

/** Removes what pages that were closed long ago left behind. */
export async function removeStaleDownloads() {
  if (!hasPrivateFolder()) return
  const folder = await navigator.storage.getDirectory()
  for await (const name of folder.keys()) {
    const begun = Number(name.slice(STALE_PREFIX.length).split('-')[0])
    if (name.startsWith(STALE_PREFIX) && Date.now() - begun > STALE_MS)
      await folder.removeEntry(name).catch(() => undefined)
  }
}

function hasPrivateFolder() {
  return (
    navigator.storage?.getDirectory !== undefined &&
    'createWritable' in (globalThis.FileSystemFileHandle?.prototype ?? {})
  )
}

/**
 * A file that somebody picked. Until it is closed the bytes lie in a swap file beside it, so the file
 * itself never holds anything unverified.
 *
 * @param {RemovableHandle} handle
 * @returns {Promise<Sink>}
 */
async function openFileSink(handle) {
  // The picker makes an empty file; one that held something before must stay as it is.
  const wasEmpty = (await handle.getFile()).size === 0
  const writable = await handle.createWritable({ keepExistingData: false })
  return {
    write: (bytes) => writable.write(bytes),
    async keep() {
      await writable.close()
      return `saved as ${handle.name}`
    },
    async discard() {
      await writable.abort().catch(() => undefined)
      if (wasEmpty) await handle.remove?.().catch(() => undefined)
    },
  }
}

/**
 * The private folder of this origin, which no other program sees.
 *
 * @param {string} fileName
 * @returns {Promise<Sink>}
 */
async function openPrivateSink(fileName) {
  const folder = await navigator.storage.getDirectory()
  const name = `${STALE_PREFIX}${Date.now()}-${crypto.randomUUID()}`
  const handle = await folder.getFileHandle(name, { create: true })
  const writable = await handle.createWritable()
  return {
    write: (bytes) => writable.write(bytes),
    async keep() {
      await writable.close()
      return offer(await handle.getFile(), fileName)
    },
    async discard() {
      await writable.abort().catch(() => undefined)
      await folder.removeEntry(name).catch(() => undefined)
    },
  }
}

/**
 * @param {string} fileName
 * @param {string} contentType
 * @returns {Sink}
 */
function openMemorySink(fileName, contentType) {
  /** @type {Blob[]} */
  let blobs = []
  return {
    async write(bytes) {
      blobs.push(new Blob([bytes]))
    },
    async keep() {
      return offer(new Blob(blobs, { type: contentType }), fileName)
    },
    async discard() {
      blobs = []
    },
  }
}

/**
 * @param {Blob} blob
 * @param {string} fileName
 */
function offer(blob, fileName) {
  const link = document.createElement('a')
  // Whatever it is, it must not be shown as a page of this origin.
  link.href = URL.createObjectURL(blob.slice(0, blob.size, 'application/octet-stream'))
  link.download = fileName
  link.click()
  return `handed to the browser as ${fileName}`
}
