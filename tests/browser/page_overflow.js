// What makes the page wider than the screen; nothing where it is not.
() => {
  const width = document.documentElement.clientWidth;
  const pageWidth = document.documentElement.scrollWidth;
  if (pageWidth <= width) return [];
  const isWide = (element) => element.getBoundingClientRect().right > width + 1;
  const wide = [...document.querySelectorAll("body *")].filter(isWide).slice(0, 6);
  return [`the page is ${pageWidth} px wide`, ...wide.map((element) => element.outerHTML.slice(0, 120))];
}
