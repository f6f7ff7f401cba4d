// The server's API, same origin; failures become an ApiError that says what the user can do.

export class ApiError extends Error {
  constructor(status, message, retryAfterS = null) {
    super(message);
    this.status = status;
    this.retryAfterS = retryAfterS;
  }
}

export async function post(path, body, signal) {
  return await call(path, {
    method: "POST",
    headers: { "Content-Type": "application/json" },
    body: JSON.stringify(body),
    signal,
  });
}

export async function upload(path, file) {
  return await call(path, { method: "POST", headers: { "Content-Type": "application/octet-stream" }, body: file });
}

export async function remove(path) {
  await call(path, { method: "DELETE" });
}

export async function get(path, signal) {
  return await call(path, { signal });
}

// Sent even while the page is being left; a lost event is no reason to disturb the user.
export function sendEvent(event) {
  fetch("/v1/sql/events", {
    method: "POST",
    headers: { "Content-Type": "application/json" },
    body: JSON.stringify(event),
    keepalive: true,
  }).catch((error) => console.debug("an event could not be sent:", error.message));
}

async function call(path, options) {
  let response;
  try {
    response = await fetch(path, options);
  } catch (error) {
    if (error.name === "AbortError") throw error;
    throw new ApiError(0, "no connection to the server");
  }
  const body = await response.json().catch(() => null);
  if (response.ok) return body;
  const after = Number.parseFloat(response.headers.get("Retry-After"));
  throw new ApiError(response.status, messageOf(response.status, body), Number.isFinite(after) ? after : null);
}

function messageOf(status, body) {
  if (status === 401) return "sign in to go on";
  return body?.error?.message ?? `the server answered ${status}`;
}
