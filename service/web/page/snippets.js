// The same call as a command and as Python, and the buttons that copy them.

const shell = (text) => (/^[\w@%+=:,./-]+$/.test(text) ? text : `'${text.replaceAll("'", `'\\''`)}'`);

/** @param {string} file the picture's name @param {string} target host:port of the gRPC service */
export function command(file, model, target) {
  const name = file.startsWith("-") ? `./${file}` : file;
  return `resserve classify ${shell(name)} --model ${shell(model)} --target ${target}`;
}

export function snippet(file, model, target) {
  return `from resserve import Client

with Client(${JSON.stringify(target)}) as client:
    result = client.classify(${JSON.stringify(file)}, model=${JSON.stringify(model)})
    for label in result.labels:
        print(f"{label.name}: {label.probability:.1%}")`;
}

/** Copy the text of the element that the button names, and say so on the button. */
export async function copy(button) {
  const source = document.getElementById(button.dataset.copies);
  try {
    await navigator.clipboard.writeText(source.textContent);
  } catch {
    // A page of another host over plain HTTP has no clipboard; what is selected can still be copied.
    getSelection().selectAllChildren(source);
    document.execCommand("copy");
  }
  button.textContent = "Copied";
  setTimeout(() => (button.textContent = "Copy"), 1500);
}
