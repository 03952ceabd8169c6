/** Addresses that pages write in the browser too. Pure, and used on both sides. */

/**
 * The page of an artifact; the slashes of its name stay as they are.
 *
 * @param {{ task: string, run: number, name: string }} artifact
 * @returns {string}
 */
export function artifactPath({ task, run, name }) {
  const segments = name.split('/').map((segment) => encodeURIComponent(segment))
  return `/artifacts/${encodeURIComponent(task)}/${run}/${segments.join('/')}`
}
