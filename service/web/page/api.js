// The service's HTTP port.

/** What failed, as a sentence, with the service's code ("" when it could not be reached). */
export class ServiceError extends Error {
  constructor(message, code = "") {
    super(message);
    this.code = code;
  }
}

const UNREACHABLE = "The service does not answer; is it still running?";

async function call(path, options) {
  try {
    return await fetch(path, options);
  } catch {
    throw new ServiceError(UNREACHABLE);
  }
}

/** {grpc_port, models: [...]} of every version the service knows. */
export async function fetchModels() {
  const response = await call("/api/models");
  if (!response.ok) throw new ServiceError(UNREACHABLE);
  return response.json();
}

/** The Prometheus exposition. */
export async function fetchMetrics() {
  const response = await call("/metrics");
  if (!response.ok) throw new ServiceError(UNREACHABLE);
  return response.text();
}

/** One model's answer to an encoded image. */
export async function classify(image, model) {
  const response = await call(`/api/classify?model=${encodeURIComponent(model)}`, { method: "POST", body: image });
  const answer = await response.json().catch(() => ({}));
  if (response.ok && answer.labels) return answer;
  const { code = "INTERNAL", message = `The service answered with HTTP status ${response.status}.` } = answer.error ?? {};
  throw new ServiceError(message, code);
}
