const shown = JSON.parse(document.getElementById("shown").textContent);
// that it is there is told to who waits for it
unpacking.done = unpack().then(() => (document.documentElement.dataset.ready = "true"));
(shown.kind === "compare" ? comparison : report)(shown);
