"use strict";
(() => {
  const EVERY_MS = 5000;
  const connection = document.getElementById("connection");
  let paused = false;

  // Show times in the reader's time zone. The original text stays as the title.
  const localise = (root) => {
    for (const time of root.querySelectorAll("time[datetime]")) {
      const moment = new Date(time.dateTime);
      const today = moment.toDateString() === new Date().toDateString();
      const shown = { hour: "2-digit", minute: "2-digit", ...(today ? {} : { month: "short", day: "numeric" }) };
      time.title = time.textContent;
      time.textContent = moment.toLocaleString([], shown);
    }
  };

  const button = (text, run) => {
    const made = document.createElement("button");
    made.type = "button";
    made.textContent = text;
    made.addEventListener("click", () => run(made));
    return made;
  };

  const copy = async (text, pressed, pre) => {
    try {
      await navigator.clipboard.writeText(text);
      pressed.textContent = "Copied";
    } catch {
      // A page without TLS may not write to the clipboard, so the text is selected for the reader.
      getSelection().selectAllChildren(pre);
      pressed.textContent = "Selected";
    }
    setTimeout(() => { pressed.textContent = "Copy"; }, 2000);
  };

  const refresh = async () => {
    try {
      const answer = await fetch(location.pathname, { cache: "no-store", credentials: "same-origin" });
      if (!answer.ok) throw new Error(`status ${answer.status}`);
      const next = new DOMParser().parseFromString(await answer.text(), "text/html");
      localise(next);
      for (const old of document.querySelectorAll("[data-live]")) {
        const fresh = next.getElementById(old.id);
        if (fresh && fresh.innerHTML !== old.innerHTML) old.replaceChildren(...fresh.childNodes);
      }
      connection.textContent = "";
    } catch {
      connection.textContent = "The gateway does not answer. This page may be out of date.";
    }
  };

  localise(document);
  for (const pre of document.querySelectorAll(".example pre")) {
    const made = button("Copy", (pressed) => copy(pre.textContent, pressed, pre));
    made.setAttribute("aria-describedby", pre.getAttribute("aria-labelledby"));
    pre.after(made);
  }
  connection.before(button("Pause updates", (pressed) => {
    paused = !paused;
    pressed.textContent = paused ? "Resume updates" : "Pause updates";
  }));
  setInterval(() => { if (!paused && document.visibilityState === "visible") refresh(); }, EVERY_MS);
})();
