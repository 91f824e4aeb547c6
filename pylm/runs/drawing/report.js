"use strict";
// The slider shows what the model wrote at one step; without a script all of it is shown.
const at = document.getElementById("at");
if (at) {
  const articles = [...document.querySelectorAll("article[data-step]")];
  const show = () => {
    articles.forEach((article, number) => { article.hidden = number !== Number(at.value); });
    document.getElementById("step").textContent = Number(articles[at.value].dataset.step).toLocaleString("en");
  };
  document.getElementById("slider").hidden = false;
  at.addEventListener("input", show);
  show();
}
