// toolbox-client.mjs BASE-URL CLIENT-DIRECTORY [TOKEN]: drives a toolbox API with Daytona's published client.
// Prints "ok - NAME" and "not ok - NAME: why" lines. The base URL is a guest daemon's, or a runner's
// .../sandboxes/{id}/toolbox with its token, or unix:SOCKET:/sandboxes/{id}/toolbox.
import { createRequire } from 'node:module'
import { randomBytes } from 'node:crypto'
import assert from 'node:assert/strict'

const [where, directory, token] = process.argv.slice(2)
const [, socketPath, path] = where.match(/^unix:([^:]+):(.*)$/) ?? []
const base = socketPath ? `http://runner${path}` : where
const load = createRequire(`${directory}/package.json`)
const { Configuration, FileSystemApi, InfoApi, PortApi, ProcessApi } = load('@daytonaio/toolbox-api-client')
const axios = load('axios')
const http = axios.create({ headers: token ? { Authorization: `Bearer ${token}` } : {}, timeout: 60000, socketPath })
const configuration = new Configuration({ basePath: base })
const make = (Api) => new Api(configuration, base, http)
const files = make(FileSystemApi)
const info = make(InfoApi)
const port = make(PortApi)
const processes = make(ProcessApi)
let failed = 0

async function test(name, body) {
  try {
    await body()
    console.log(`ok - ${name}`)
  } catch (error) {
    failed++
    const answer = error.response ? ` [${error.response.status} ${JSON.stringify(error.response.data)}]` : ''
    console.log(`not ok - ${name}: ${String(error.message).replaceAll('\n', ' ')}${answer}`)
  }
}

// The error body of the contract: status, code, path and method all say what happened.
async function refused(promise, status, code) {
  const error = await promise.then(
    () => assert.fail(`was not refused with ${status}`),
    (e) => e,
  )
  assert.equal(error.response?.status, status, error.message)
  const body = error.response.data
  assert.equal(body.statusCode, status)
  assert.equal(body.code, code)
  assert.ok(body.message && body.path && body.method && !Number.isNaN(Date.parse(body.timestamp)), JSON.stringify(body))
}

const dir = `/tmp/toolbox-client-${randomBytes(6).toString('hex')}`
const blob = randomBytes(3 * 1024 * 1024 + 7)
const run = async (command, more = {}) => (await processes.executeCommand({ command, ...more })).data

await test('version', async () => assert.match((await info.getVersion()).data.version, /^\d+\.\d+/))
await test('home and work directory', async () => {
  assert.match((await info.getUserHomeDir()).data.dir, /^\//)
  assert.match((await info.getWorkDir()).data.dir, /^\//)
})

await test('execute: output of both streams, exit code', async () => {
  assert.deepEqual(await run('echo out; echo err >&2; exit 3'), { exitCode: 3, result: 'out\nerr\n' })
})
await test('execute: cwd and envs', async () => {
  const { result } = await run('pwd; echo "$A|$B"', { cwd: '/usr', envs: { A: 'x y', B: "it's" } })
  assert.equal(result, "/usr\nx y|it's\n")
})
await test('execute: a signal is 128 and its number', async () => assert.equal((await run('kill -9 $$')).exitCode, 137))
await test('execute: timeout is 408', () => refused(run('sleep 30', { timeout: 1 }), 408, 'REQUEST_TIMEOUT'))
await test('execute: bytes that are no UTF-8 come as replacements', async () => {
  assert.equal((await run("printf 'a\\377\\000b'")).result, 'a\uFFFD\uFFFDb')
})
await test('execute: a cwd that is not there is 404', () => refused(run('true', { cwd: '/no/such' }), 404, 'NOT_FOUND'))
await test('execute: an empty command is 400', () => refused(run(''), 400, 'INVALID_REQUEST_BODY'))
await test('execute: what stays in the background does not hold the answer', async () => {
  const { result } = await run('sleep 20 & echo $!')
  assert.equal((await run(`kill ${result}`)).exitCode, 0)
})

await test('folder, made with its parents and mode', async () => {
  await files.createFolder(`${dir}/a/b`, '0750')
  const { data } = await files.getFileInfo(`${dir}/a/b`)
  assert.equal(data.isDir, true)
  assert.equal(data.permissions, '0750')
  assert.equal(data.mode, 'drwxr-x---')
  assert.equal(data.name, 'b')
})
await test('upload and download, byte for byte', async () => {
  await files.uploadFile(`${dir}/new/blob`, new File([blob], 'blob'))
  const { data } = await files.downloadFile(`${dir}/new/blob`, { responseType: 'arraybuffer' })
  assert.ok(Buffer.from(data).equals(blob))
})
await test('upload of an empty file', async () => {
  await files.uploadFile(`${dir}/empty`, new File([], 'empty'))
  assert.equal((await files.getFileInfo(`${dir}/empty`)).data.size, 0)
})
await test('upload over a file keeps its mode', async () => {
  await files.setFilePermissions(`${dir}/empty`, undefined, undefined, '0600')
  await files.uploadFile(`${dir}/empty`, new File(['text\n'], 'empty'))
  const { data } = await files.getFileInfo(`${dir}/empty`)
  assert.deepEqual([data.permissions, data.size], ['0600', 5])
})
await test('bulk upload', async () => {
  const form = new FormData()
  for (let i = 0; i < 3; i++) {
    form.append(`files[${i}].path`, `${dir}/bulk/${i}.txt`)
    form.append(`files[${i}].file`, new File([`hello ${i}\nline\n`], `${i}.txt`))
  }
  await files.uploadFiles({ data: form })
  assert.equal((await run(`cat ${dir}/bulk/*`)).result, 'hello 0\nline\nhello 1\nline\nhello 2\nline\n')
})
await test('bulk download: files, and an error for the one that is missing', async () => {
  const paths = [`${dir}/bulk/1.txt`, `${dir}/none`, `${dir}/new/blob`]
  const { data, headers } = await files.downloadFiles({ paths }, { responseType: 'arraybuffer' })
  const form = await new Response(data, { headers: { 'Content-Type': headers['content-type'] } }).formData()
  const parts = [...form.entries()]
  assert.deepEqual(parts.map(([field]) => field), ['file', 'error', 'file'])
  assert.equal(await parts[0][1].text(), 'hello 1\nline\n')
  assert.equal(JSON.parse(await parts[1][1].text()).statusCode, 404)
  assert.ok(Buffer.from(await parts[2][1].arrayBuffer()).equals(blob))
})
await test('list', async () => {
  const { data } = await files.listFiles(`${dir}/bulk`)
  assert.deepEqual(data.map((f) => f.name), ['0.txt', '1.txt', '2.txt'])
  for (const f of data) assert.ok(f.owner && f.group && f.modTime && !Number.isNaN(Date.parse(f.modifiedAt)), f.name)
})
await test('search by name', async () => {
  const { data } = await files.searchFiles(dir, '*.txt')
  assert.deepEqual(data.files.sort(), [0, 1, 2].map((i) => `${dir}/bulk/${i}.txt`))
})
await test('find in contents', async () => {
  const { data } = await files.findInFiles(`${dir}/bulk`, 'hello 2')
  assert.deepEqual(data, [{ file: `${dir}/bulk/2.txt`, line: 1, content: 'hello 2' }])
})
await test('replace', async () => {
  const { data } = await files.replaceInFiles({ files: [`${dir}/bulk/0.txt`, `${dir}/none`], pattern: 'hello', newValue: 'bye' })
  assert.deepEqual(data.map((r) => r.success), [true, false])
  assert.ok(data[1].error)
  assert.equal((await run(`cat ${dir}/bulk/0.txt`)).result, 'bye 0\nline\n')
})
await test('move', async () => {
  await files.moveFile(`${dir}/bulk/0.txt`, `${dir}/moved file`)
  assert.equal((await files.getFileInfo(`${dir}/moved file`)).data.size, 11)
  await refused(files.getFileInfo(`${dir}/bulk/0.txt`), 404, 'NOT_FOUND')
})
await test('delete: a directory only when recursive', async () => {
  await refused(files.deleteFile(dir), 400, 'BAD_REQUEST')
  await files.deleteFile(dir, true)
  await refused(files.getFileInfo(dir), 404, 'NOT_FOUND')
})

const session = `s-${randomBytes(4).toString('hex')}`
const exec = async (command, more = {}) => (await processes.sessionExecuteCommand(session, { command, ...more })).data
await test('session: create, once', async () => {
  await processes.createSession({ sessionId: session })
  await refused(processes.createSession({ sessionId: session }), 409, 'CONFLICT')
})
await test('session: a command, its streams and exit code', async () => {
  const data = await exec('cd /usr; X=kept; echo out; echo err >&2; false')
  assert.deepEqual([data.exitCode, data.stdout, data.stderr, data.output], [1, 'out\n', 'err\n', 'out\nerr\n'])
})
await test('session: the shell lives on', async () => assert.equal((await exec('echo $X $PWD')).stdout, 'kept /usr\n'))
await test('session: a syntax error does not end it', async () => {
  assert.notEqual((await exec('if then (')).exitCode, 0)
  assert.equal((await exec('echo $X')).stdout, 'kept\n')
})
await test('session: async command, input, followed log', async () => {
  const { cmdId } = await exec('echo ready; read line; echo "got $line"', { runAsync: true, suppressInputEcho: true })
  const log = processes.getSessionCommandLogs(session, cmdId, true)
  assert.equal((await processes.getSessionCommand(session, cmdId)).data.exitCode, undefined)
  await processes.sendInput(session, cmdId, { data: 'a line\n' })
  assert.equal((await log).data, 'ready\ngot a line\n')
  assert.equal((await processes.getSessionCommand(session, cmdId)).data.exitCode, 0)
  await refused(processes.sendInput(session, cmdId, { data: 'more' }), 410, 'GONE')
})
await test('session: logs as old and new SDKs want them', async () => {
  const { cmdId } = await exec('echo o; echo e >&2')
  const logs = async (headers) => (await processes.getSessionCommandLogs(session, cmdId, undefined, { headers })).data
  assert.equal(await logs({ 'X-Daytona-SDK-Version': '0.161.0' }), '\x01\x01\x01o\n\x02\x02\x02e\n')
  assert.deepEqual(await logs({ 'X-Daytona-SDK-Version': '0.190.0' }), { output: 'o\ne\n', stdout: 'o\n', stderr: 'e\n' })
})
await test('session: list and get', async () => {
  const { data } = await processes.listSessions()
  const found = data.find((s) => s.sessionId === session)
  assert.deepEqual((await processes.getSession(session)).data, found)
  assert.equal(found.commands.length, 6)
})
await test('session: delete', async () => {
  await processes.deleteSession(session)
  await refused(processes.getSession(session), 404, 'NOT_FOUND')
})
await test('ports', async () => {
  assert.ok(Array.isArray((await port.getPorts()).data.ports))
  assert.equal(typeof (await port.isPortInUse(9998)).data.isInUse, 'boolean')
  await refused(port.isPortInUse(80), 400, 'BAD_REQUEST')
})
await test('pty is not there: 501', () => refused(processes.listPtySessions(), 501, 'NOT_IMPLEMENTED'))
process.exit(failed ? 1 : 0)
